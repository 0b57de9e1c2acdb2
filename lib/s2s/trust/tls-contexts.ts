/** The certificates that local domains show to other servers, and the authorities that certify other servers. */
import { constants } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext, rootCertificates } from 'node:tls'
import { authoritiesIn, contextOptions, type Usable } from '../../stream/certificate-files.js'
import { Anchors } from './chain.js'
import type { OwnCertificate } from './context.js'

/** The files of trusted authorities on Debian, Fedora, Alpine and BSD. */
const SYSTEM = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt', '/etc/ssl/cert.pem']
const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/**
 * Returns the authorities in a folder, or those that the system trusts. If the system has none, returns those of Node.
 */
export async function rootsOf (folder: string | undefined): Promise<readonly string[]> {
  if (folder !== undefined) return (await authoritiesIn(folder)).certificates
  for (const file of SYSTEM) {
    try {
      const found = readFileSync(file, 'utf8').match(PEM)
      if (found !== null) return found
    } catch {
      continue // this file is for another system
    }
  }
  return rootCertificates
}

/** Makes one secure context for each certificate, when it is first needed. */
export class ServerContexts {
  readonly #usable: (servername: string | undefined, domain: string) => Usable
  readonly #oldest: 'TLSv1.2' | 'TLSv1.3'
  #roots: readonly string[]
  #anchors: Anchors
  #made = new WeakMap<Usable, OwnCertificate>()

  constructor (
    usable: (servername: string | undefined, domain: string) => Usable,
    roots: readonly string[], oldest: 'TLSv1.2' | 'TLSv1.3',
  ) {
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

  /** The authorities with which a chain is verified again (see chain.ts). */
  get anchors (): Anchors { return this.#anchors }

  shows (servername: string | undefined, domain: string): OwnCertificate {
    const usable = this.#usable(servername, domain)
    let shown = this.#made.get(usable)
    if (shown === undefined) {
      const options = contextOptions(usable.pair, this.#oldest)
      // A resumed TLS session would skip the check of the certificate.
      const secureOptions = (options.secureOptions ?? 0) | constants.SSL_OP_NO_TICKET
      const context = createSecureContext({ ...options, secureOptions, ca: [...this.#roots] })
      shown = { context, certificate: usable.certificate }
      this.#made.set(usable, shown)
    }
    return shown
  }
}
