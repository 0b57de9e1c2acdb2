/** The certificates of all domains: one folder each, watched; one secure context each, swapped whole (RFC 6120 §13.7). */
import { join } from 'node:path'
import type { SecureContext } from 'node:tls'
import { domainToASCII } from 'node:url'
import { watch, type FSWatcher } from 'chokidar'
import type { Clock, Timer } from '../base/clock.js'
import type { Logger } from '../base/logger.js'
import {
  authoritiesIn, CertificateError, digestOf, filesIn, isOpenToAll, pairIn, readPair, usable, writePair, type TlsSettings, type Usable,
} from './certificate-files.js'
import { selfSigned } from './self-signed.js'

export interface CertificatesSettings {
  /** Holds one folder a domain. Made where it is not there. */
  readonly folder: string
  /** The domains that are served; at least one. */
  readonly domains: readonly string[]
  readonly clock: Clock
  readonly log: Logger
  readonly oldest?: 'TLSv1.2' | 'TLSv1.3'
  /** A folder of the certificates (PEM) of authorities that may certify clients. */
  readonly authorities?: string | undefined
}

/** What a connection is served with. */
export interface ServedCertificate {
  readonly context: SecureContext
  /** As DER: what tls-server-end-point binds to. */
  readonly certificate: Uint8Array
}

/** What an operator wants to know of one domain's certificate. Times are milliseconds since 1970. */
export interface CertificateReport {
  readonly domain: string
  /** The folder it comes from; undefined for one that stands in, in memory alone, while the folder's cannot be used. */
  readonly folder: string | undefined
  readonly names: readonly string[]
  readonly notBefore: number
  readonly notAfter: number
  readonly selfSigned: boolean
  /** SHA-256, as clients show it to whoever has to decide whether to trust it. */
  readonly fingerprint: string
  /** Sentences; none where all is well. */
  readonly problems: readonly string[]
}

/** One folder's certificate, and why a newer one there was not taken over. */
interface Standing {
  readonly folder: string | undefined
  readonly used: Usable
  readonly trouble: string | undefined
  /** Anyone on this machine may read the key. */
  readonly isOpen: boolean
}

const DAY = 86_400_000
/** Certificates that renew themselves do so 30 days before their end: with fewer than these, something does not work. */
export const SOON = 14 * DAY
/** How long the folder must be quiet before it is read: a renewal writes several files. */
const QUIET = 200
/** Folders of certificates that are read. */
export const MOST_FOLDERS = 2000

export class Certificates {
  readonly #settings: CertificatesSettings
  #tls: TlsSettings = { oldest: 'TLSv1.2', authorities: [] }
  #domains: readonly string[]
  /** By folder name; stand-ins by domain, which is the folder's name as well. */
  #standing: ReadonlyMap<string, Standing> = new Map()
  /** By served domain, and by every name of a certificate, wildcards too. */
  #byName: ReadonlyMap<string, Usable> = new Map()
  #reloading: Promise<void> = Promise.resolve()
  #watcher: FSWatcher | undefined
  #quiet: Timer | undefined
  #daily: Timer | undefined
  #next = new Signal()
  /** What was last said of a domain's certificate: nothing is said twice. */
  readonly #told = new Map<string, string>()

  /** Reads the folder, makes what is missing, and watches. Throws only what the file system says of the folder itself. */
  static async open (settings: CertificatesSettings): Promise<Certificates> {
    const certificates = new Certificates(settings)
    await certificates.reload()
    await certificates.#watch()
    return certificates
  }

  private constructor (settings: CertificatesSettings) {
    this.#settings = settings
    this.#domains = settings.domains
  }

  /** Whether clients are asked for certificates: where there are authorities to check them by. */
  get asksClients (): boolean { return this.#tls.authorities.length > 0 }

  /** The certificate for a server name of TLS; else that of `domain`, which the stream was opened to; else the first domain's. */
  contextFor (servername: string | undefined, domain?: string): ServedCertificate { return this.usableFor(servername, domain) }

  /** The same with all that is known of it. */
  usableFor (servername: string | undefined, domain?: string): Usable {
    const found = this.#covering(servername) ?? this.#covering(domain) ?? this.#covering(this.#domains[0])
    if (found === undefined) throw new Error('no domain is served')
    return found
  }

  /** Serves these domains from now on; resolves once each has a certificate. */
  async serve (domains: readonly string[]): Promise<void> {
    this.#domains = domains
    await this.reload()
  }

  /** Reads the folder anew. What cannot be used is reported, and what was in use before stays. */
  async reload (): Promise<void> {
    const reload = this.#reloading.then(() => this.#read())
    this.#reloading = reload.catch(() => {})
    await reload
  }

  /** Resolves after the next reload, whoever asked for it. */
  reloaded (): Promise<void> { return this.#next.promise }

  /** One line a domain, in the order of the conf. */
  report (): readonly CertificateReport[] {
    return this.#domains.flatMap(domain => {
      const used = this.#covering(domain)
      const standing = [...this.#standing.values()].find(standing => standing.used === used)
      return standing === undefined ? [] : [this.#reportOf(domain, standing)]
    })
  }

  async close (): Promise<void> {
    this.#quiet?.cancel()
    this.#daily?.cancel()
    await this.#watcher?.close()
    await this.#reloading
  }

  #covering (name: string | undefined): Usable | undefined {
    const ascii = asciiOf(name)
    return ascii === undefined ? undefined : this.#byName.get(ascii) ?? this.#byName.get(wildcardOf(ascii))
  }

  async #read (): Promise<void> {
    const { folder, log } = this.#settings
    this.#tls = { oldest: this.#settings.oldest ?? 'TLSv1.2', authorities: await this.#authorities() }
    const served = new Set(this.#domains.flatMap(domain => asciiOf(domain) ?? []))
    // A folder that is gone for a moment, because it is being replaced, keeps what it had.
    const kept = [...this.#standing.keys()].filter(name => served.has(asciiOf(name) ?? ''))
    const names = [...new Set([...await filesIn(folder), ...kept])]
    if (names.length > MOST_FOLDERS) log.warn('too many folders of certificates', { folder, read: MOST_FOLDERS })
    const standing = new Map<string, Standing>()
    const broken = new Map<string, string>()
    for (const name of names.slice(0, MOST_FOLDERS)) {
      const found = await this.#standingIn(name, this.#standing.get(name))
      if (typeof found === 'string') broken.set(asciiOf(name) ?? name, found)
      else if (found !== undefined) standing.set(name, found)
    }
    for (const domain of this.#domains) {
      if (!isCovered(domain, standing)) standing.set(domain, await this.#make(domain, broken.get(asciiOf(domain) ?? domain)))
    }
    this.#standing = standing
    this.#byName = index(this.#domains, standing)
    this.#tell()
    const next = this.#next
    this.#next = new Signal()
    next.give()
  }

  /** What the folder offers now, or what it offered before; or why neither is there. Undefined for a folder that is empty. */
  async #standingIn (name: string, old: Standing | undefined): Promise<Standing | string | undefined> {
    const folder = join(this.#settings.folder, name)
    const before = old?.folder === undefined ? undefined : old
    try {
      const files = await pairIn(folder)
      if (files === 'none') return before === undefined ? undefined : { ...before, trouble: 'the files are gone' }
      if (files === 'half') throw new CertificateError('the certificate or its key is missing')
      const pair = await readPair(files)
      const used = before?.used.digest === digestOf(pair, this.#tls) ? before.used : usable(pair, this.#tls)
      return { folder, used, trouble: undefined, isOpen: await isOpenToAll(files.key) }
    } catch (error) {
      const trouble = error instanceof Error ? error.message : String(error)
      return before === undefined ? trouble : { ...before, trouble }
    }
  }

  /** A certificate for a domain without one. It goes to disk unless the folder holds what somebody else has put there. */
  async #make (domain: string, trouble: string | undefined): Promise<Standing> {
    const { clock, log } = this.#settings
    const old = this.#standing.get(domain)
    const standIn = old?.folder === undefined ? old : undefined
    if (standIn !== undefined && trouble !== undefined) return { ...standIn, trouble }
    const pair = await selfSigned(domain, asciiOf(domain) ?? domain, clock.now())
    const used = usable(pair, this.#tls)
    const folder = join(this.#settings.folder, asciiOf(domain) ?? domain)
    if (trouble !== undefined) return { folder: undefined, used, trouble, isOpen: false }
    try {
      await writePair(folder, pair)
    } catch (error) {
      log.error('certificate not stored', { domain, folder, error })
      return standIn ?? { folder: undefined, used, trouble: 'it could not be stored', isOpen: false }
    }
    log.info('certificate made', { domain, folder })
    return { folder, used, trouble: undefined, isOpen: false }
  }

  async #authorities (): Promise<readonly string[]> {
    const { authorities, log } = this.#settings
    if (authorities === undefined) return []
    const found = await authoritiesIn(authorities)
    for (const { file, text } of found.problems) log.warn('authority not taken over', { file, problem: text })
    if (found.certificates.length === 0) log.warn('no authorities: clients are not asked for certificates', { folder: authorities })
    return found.certificates
  }

  #reportOf (domain: string, { folder, used, trouble, isOpen }: Standing): CertificateReport {
    const { names, notBefore, notAfter, selfSigned, fingerprint, disorder } = used
    const now = this.#settings.clock.now()
    const problems: string[] = []
    const meanwhile = folder === undefined ? 'a self-signed one stands in' : 'the one before stays in use'
    if (trouble !== undefined) problems.push(`${meanwhile}: ${trouble}`)
    if (now >= notAfter) problems.push('it has expired')
    else if (now > notAfter - SOON) problems.push(`it expires in ${Math.ceil((notAfter - now) / DAY)} days`)
    if (now < notBefore) problems.push('it is not valid yet')
    const ascii = asciiOf(domain) ?? domain
    if (!names.includes(ascii) && !names.includes(wildcardOf(ascii))) problems.push('it is not for this domain')
    if (disorder !== undefined) problems.push(`it has ${disorder}`)
    if (isOpen) problems.push('anyone on this machine may read its key')
    return { domain, folder, names, notBefore, notAfter, selfSigned, fingerprint, problems }
  }

  #tell (): void {
    for (const { domain, folder, problems } of this.report()) {
      const text = problems.join('; ')
      if (text !== (this.#told.get(domain) ?? '')) {
        if (text === '') this.#settings.log.info('certificate in order again', { domain, folder })
        else this.#settings.log.warn('certificate problem', { domain, folder, problems })
      }
      this.#told.set(domain, text)
    }
  }

  async #watch (): Promise<void> {
    const { folder, authorities, clock, log } = this.#settings
    const watcher = watch(authorities === undefined ? [folder] : [folder, authorities], { ignoreInitial: true, depth: 1 })
    this.#watcher = watcher
    watcher.on('all', () => {
      this.#quiet?.cancel()
      this.#quiet = clock.after(QUIET, () => { this.#reloadAlone() })
    })
    watcher.on('error', error => { log.warn('certificates are not watched: reload by hand', { folder, error }) })
    await new Promise<void>(resolve => { watcher.once('ready', resolve) })
    this.#daily = clock.every(DAY, () => { this.#tell() })
  }

  #reloadAlone (): void {
    this.reload().catch((error: unknown) => { this.#settings.log.error('certificates not reloaded', { error }) })
  }
}

/** Something that happens once, and that any number may wait for. */
class Signal {
  readonly promise: Promise<void>
  #give: () => void = () => {}

  constructor () {
    this.promise = new Promise(resolve => { this.#give = resolve })
  }

  give (): void { this.#give() }
}

/** A domain as DNS has it, in lower case and without the dot at its end; undefined for what cannot be one. */
export function asciiOf (name: string | undefined): string | undefined {
  return name === undefined ? undefined : domainToASCII(name.replace(/\.$/, '')) || undefined
}

/** RFC 9525 §6.3: a wildcard stands for the whole first label, and for one alone. */
export function wildcardOf (ascii: string): string {
  return `*${ascii.slice(Math.max(ascii.indexOf('.'), 0))}`
}

function ownStanding (domain: string, standing: ReadonlyMap<string, Standing>): Standing | undefined {
  const ascii = asciiOf(domain)
  return standing.get(domain) ?? [...standing].find(([name]) => asciiOf(name) === ascii)?.[1]
}

function isCovered (domain: string, standing: ReadonlyMap<string, Standing>): boolean {
  const ascii = asciiOf(domain) ?? domain
  return ownStanding(domain, standing) !== undefined ||
    [...standing.values()].some(({ used: { names } }) => names.includes(ascii) || names.includes(wildcardOf(ascii)))
}

/** A domain's own folder goes first; of others that have the name, the one that is valid for longest. */
function index (domains: readonly string[], standing: ReadonlyMap<string, Standing>): ReadonlyMap<string, Usable> {
  const byName = new Map<string, Usable>()
  for (const { used } of [...standing.values()].sort((a, b) => a.used.notAfter - b.used.notAfter)) {
    for (const name of used.names) byName.set(name, used)
  }
  for (const domain of domains) {
    const ascii = asciiOf(domain)
    const own = ownStanding(domain, standing)
    if (ascii !== undefined && own !== undefined) byName.set(ascii, own.used)
  }
  return byName
}
