/** What our domains show to other servers, and whose certificates they believe. */
import { constants } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext, rootCertificates } from 'node:tls'
import { authoritiesIn, contextOptions, type Usable } from '../stream/certificate-files.js'
import { Anchors } from './chain.js'
import type { Shown } from './world.js'

/** Where systems keep the authorities they trust: Debian, Fedora, Alpine and BSD. */
const SYSTEM = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt', '/etc/ssl/cert.pem']
const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** The authorities of a folder, or those that the system trusts; where it names none, those that Node brings along. */
export async function rootsOf (folder: string | undefined): Promise<readonly string[]> {
  if (folder !== undefined) return (await authoritiesIn(folder)).certificates
  for (const file of SYSTEM) {
    try {
      const found = readFileSync(file, 'utf8').match(PEM)
      if (found !== null) return found
    } catch {
      continue // not this kind of system
    }
  }
  return rootCertificates
}

/** One secure context a certificate, made when it is first wanted. */
export class ServerContexts {
  readonly #usable: (servername: string | undefined, domain: string) => Usable
  readonly #oldest: 'TLSv1.2' | 'TLSv1.3'
  #roots: readonly string[]
  #anchors: Anchors
  #made = new WeakMap<Usable, Shown>()

  constructor (usable: (servername: string | undefined, domain: string) => Usable, roots: readonly string[], oldest: 'TLSv1.2' | 'TLSv1.3') {
    this.#usable = usable
    this.#roots = roots
    this.#anchors = new Anchors(roots)
    this.#oldest = oldest
  }

  set roots (roots: readonly string[]) {
    this.#roots = roots
    this.#anchors = new Anchors(roots)
    this.#made = new WeakMap()
  }

  /** The authorities by which a chain is verified again (see chain.ts). */
  get anchors (): Anchors { return this.#anchors }

  shows (servername: string | undefined, domain: string): Shown {
    const usable = this.#usable(servername, domain)
    let shown = this.#made.get(usable)
    if (shown === undefined) {
      const options = contextOptions(usable.pair, this.#oldest)
      // A resumed session would skip the look at the certificate.
      const secureOptions = (options.secureOptions ?? 0) | constants.SSL_OP_NO_TICKET
      shown = { context: createSecureContext({ ...options, secureOptions, ca: [...this.#roots] }), certificate: usable.certificate }
      this.#made.set(usable, shown)
    }
    return shown
  }
}
