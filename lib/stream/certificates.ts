/**
 * The certificates of all domains: each has a folder, which is watched, and a secure context, which is replaced as a
 * whole (RFC 6120 §13.7).
 */
import { join } from 'node:path'
import type { SecureContext } from 'node:tls'
import { domainToASCII } from 'node:url'
import { watch, type FSWatcher } from 'chokidar'
import type { Clock, Timer } from '../base/clock.js'
import type { Logger } from '../base/logger.js'
import {
  authoritiesIn, CertificateError, digestOf, filesIn, isOpenToAll, pairIn, readPair, usable, writePair,
  type TlsSettings, type Usable,
} from './certificate-files.js'
import { selfSigned } from './self-signed.js'

export interface CertificatesSettings {
  /** A folder that holds one folder per domain. Made if it does not exist. */
  readonly folder: string
  /** The domains that are served; at least one. */
  readonly domains: readonly string[]
  readonly clock: Clock
  readonly log: Logger
  readonly oldest?: 'TLSv1.2' | 'TLSv1.3'
  /** A folder with the certificates (PEM) of authorities that may certify clients. */
  readonly authorities?: string | undefined
}

/** The certificate that a connection uses in TLS. */
export interface ServedCertificate {
  readonly context: SecureContext
  /** The certificate as DER, to which tls-server-end-point binds. */
  readonly certificate: Uint8Array
}

/** One domain's certificate, as an operator sees it. Times are in milliseconds since 1970. */
export interface CertificateReport {
  readonly domain: string
  /** The folder it comes from; undefined for a replacement in memory, used while the folder's certificate cannot be. */
  readonly folder: string | undefined
  readonly names: readonly string[]
  readonly notBefore: number
  readonly notAfter: number
  readonly selfSigned: boolean
  /** SHA-256, in the form in which clients show it to users who decide whether to trust it. */
  readonly fingerprint: string
  /** Sentences; none if all is well. */
  readonly problems: readonly string[]
}

/** The certificate of one folder in use, and why a newer one in the folder is not used. */
interface Standing {
  readonly folder: string | undefined
  readonly used: Usable
  readonly trouble: string | undefined
  /** True if any user of this machine may read the key. */
  readonly isOpen: boolean
}

const DAY = 86_400_000
/** Certificates are usually renewed 30 days before they expire. With less than this left, the renewal does not work. */
export const SOON = 14 * DAY
/** How long the folder must be unchanged before it is read, in milliseconds: a renewal writes several files. */
const QUIET = 200
/** The most folders of certificates that are read. */
export const MOST_FOLDERS = 2000

export class Certificates {
  readonly #settings: CertificatesSettings
  #tls: TlsSettings = { oldest: 'TLSv1.2', authorities: [] }
  #domains: readonly string[]
  /** By folder name; replacements in memory by domain, which is the folder's name as well. */
  #standing: ReadonlyMap<string, Standing> = new Map()
  /** By served domain, and by each name of a certificate, including wildcards. */
  #byName: ReadonlyMap<string, Usable> = new Map()
  #reloading: Promise<void> = Promise.resolve()
  #watcher: FSWatcher | undefined
  #quiet: Timer | undefined
  #daily: Timer | undefined
  #next = new Signal()
  /** The problems that were last logged for each domain, so that nothing is logged twice. */
  readonly #told = new Map<string, string>()

  /**
   * Reads the folder, makes missing certificates, and watches. Throws only errors of the file system about the folder
   * itself.
   */
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

  /** True if clients are asked for certificates, which is so if there are authorities to check them. */
  get asksClients (): boolean { return this.#tls.authorities.length > 0 }

  /**
   * Returns the certificate for a server name of TLS, or for `domain`, to which the stream was opened, or for the first
   * domain.
   */
  contextFor (servername: string | undefined, domain?: string): ServedCertificate {
    return this.usableFor(servername, domain)
  }

  /** Returns the same certificate as `contextFor`, with all that is known of it. */
  usableFor (servername: string | undefined, domain?: string): Usable {
    const found = this.#covering(servername) ?? this.#covering(domain) ?? this.#covering(this.#domains[0])
    if (found === undefined) throw new Error('no domain is served')
    return found
  }

  /** Serves these domains from now on. Resolves once each has a certificate. */
  async serve (domains: readonly string[]): Promise<void> {
    this.#domains = domains
    await this.reload()
  }

  /** Reads the folder again. If a certificate cannot be used, reports that and keeps the one in use. */
  async reload (): Promise<void> {
    const reload = this.#reloading.then(() => this.#read())
    this.#reloading = reload.catch(() => {})
    await reload
  }

  /** Resolves after the next reload, whatever started it. */
  reloaded (): Promise<void> { return this.#next.promise }

  /** Returns one report per domain, in the order of the conf. */
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
    // In a turn of its own: between two steps of one promise, chokidar loses the watch of a folder that has just
    // appeared, and this watch keeps the process.
    await new Promise(resolve => { setImmediate(resolve) })
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
    // A folder that is gone for a moment, because it is being replaced, keeps its certificate.
    const kept = [...this.#standing.keys()].filter(name => served.has(asciiOf(name) ?? ''))
    const names = [...new Set([...await filesIn(folder), ...kept])]
    if (names.length > MOST_FOLDERS) {
      const skipped = names.length - MOST_FOLDERS
      log.warn('certificate folders skipped', { folder, skipped, reason: `more than ${MOST_FOLDERS}` })
    }
    const standing = new Map<string, Standing>()
    const broken = new Map<string, string>()
    for (const name of names.slice(0, MOST_FOLDERS)) {
      const found = await this.#standingIn(name, this.#standing.get(name))
      if (typeof found === 'string') broken.set(asciiOf(name) ?? name, found)
      else if (found !== undefined) standing.set(name, found)
    }
    for (const domain of this.#domains) {
      if (isCovered(domain, standing)) continue
      standing.set(domain, await this.#make(domain, broken.get(asciiOf(domain) ?? domain)))
    }
    this.#standing = standing
    this.#byName = index(this.#domains, standing)
    this.#tell()
    const next = this.#next
    this.#next = new Signal()
    next.give()
  }

  /**
   * Returns the certificate of a folder, or the earlier one, or as text why there is neither; undefined for an empty
   * folder.
   */
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

  /**
   * Makes a certificate for a domain without one. Stores it, unless the folder holds files that somebody else put
   * there.
   */
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
    log.info('certificate made', { domain, folder, fingerprint: used.fingerprint })
    return { folder, used, trouble: undefined, isOpen: false }
  }

  async #authorities (): Promise<readonly string[]> {
    const { authorities, log } = this.#settings
    if (authorities === undefined) return []
    const found = await authoritiesIn(authorities)
    for (const { file, text } of found.problems) log.warn('authority refused', { file, reason: text })
    if (found.certificates.length === 0) {
      const reason = 'the folder contains no authorities'
      log.warn('client certificates not requested', { folder: authorities, reason })
    }
    return found.certificates
  }

  #reportOf (domain: string, { folder, used, trouble, isOpen }: Standing): CertificateReport {
    const { names, notBefore, notAfter, selfSigned, fingerprint, disorder } = used
    const now = this.#settings.clock.now()
    const problems: string[] = []
    const meanwhile = folder === undefined ? 'a self-signed one is used instead' : 'the earlier one stays in use'
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
    for (const { domain, folder, problems, fingerprint } of this.report()) {
      const text = problems.join('; ')
      if (text !== (this.#told.get(domain) ?? '')) {
        if (text === '') this.#settings.log.info('certificate problem solved', { domain, folder })
        else this.#settings.log.warn('certificate problem found', { domain, folder, problems, ...folder === undefined && { fingerprint } })
      }
      this.#told.set(domain, text)
    }
  }

  async #watch (): Promise<void> {
    const { folder, authorities, clock, log } = this.#settings
    const folders = authorities === undefined ? [folder] : [folder, authorities]
    const watcher = watch(folders, { ignoreInitial: true, depth: 1 })
    this.#watcher = watcher
    watcher.on('all', () => {
      this.#quiet?.cancel()
      this.#quiet = clock.after(QUIET, () => { this.#reloadAlone() })
    })
    watcher.on('error', error => { log.warn('certificates not watched', { folder, error, remedy: 'reload by hand' }) })
    await new Promise<void>(resolve => { watcher.once('ready', resolve) })
    this.#daily = clock.every(DAY, () => { this.#tell() })
  }

  #reloadAlone (): void {
    this.reload().catch((error: unknown) => { this.#settings.log.error('certificates not reloaded', { error }) })
  }
}

/** An event that happens once, and that any number of callers can wait for. */
class Signal {
  readonly promise: Promise<void>
  #give: () => void = () => {}

  constructor () {
    this.promise = new Promise(resolve => { this.#give = resolve })
  }

  give (): void { this.#give() }
}

/** Returns a domain as in DNS, in lower case and without a final dot; undefined if it cannot be one. */
export function asciiOf (name: string | undefined): string | undefined {
  return name === undefined ? undefined : domainToASCII(name.replace(/\.$/, '')) || undefined
}

/** RFC 9525 §6.3: a wildcard is the whole first label and matches exactly one label. */
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

/**
 * Maps names to certificates. A domain's own folder has priority; of others, the certificate that is valid for longest.
 */
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
