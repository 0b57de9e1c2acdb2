/**
 * Imports accounts from files (XEP-0227). The module that stores an element checks it. An interrupted import is
 * continued by the next one.
 */
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { AccountExists } from '../auth/accounts.js'
import { HASH_NAMES, PasswordError } from '../auth/keys.js'
import { shortened } from '../base/text.js'
import { accountCreated, accountImporting } from '../host/events.js'
import type { Host } from '../host/host.js'
import type { Server } from '../host/server.js'
import { PendingBatch } from '../storage/batch.js'
import { records, type Records } from '../storage/store.js'
import { attributeOf, child, localName, namespaceOf, textOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { parseDateTime } from '../xmpp/datetime.js'
import { StanzaError } from '../xmpp/errors.js'
import { JidError, jidOf, parseJid, type Jid } from '../xmpp/jid.js'
import { PrepError } from '../xmpp/prep.js'
import { readAccounts, type ReadProgress, type FilePlace, type Step } from './account-file.js'
import { credentialsIn, credentialsInPassword, type Credentials } from './imported-keys.js'
import { PrivacyLists } from './privacy.js'
import { CommandError, type Operator } from './talk.js'

/** The options of an import. */
export interface ImportOptions {
  /** The first element that cannot be imported ends the import, instead of being reported and left out. */
  readonly strict: boolean
  /** Existing accounts also get what the file has for them; they keep their passwords. */
  readonly merge: boolean
}

/** The numbers of a finished import. */
export interface Imported {
  readonly accounts: number
  /** The number of accounts that an earlier run had imported completely. */
  readonly before: number
  /** The number of imported elements, such as contacts, messages and vCards. */
  readonly elements: number
  readonly problems: number
}

/**
 * The progress of an account's import from one file. `elements` counts those that were imported or refused. The
 * progress is stored in one commit with them, under the account, so that it is removed with the account.
 */
interface Progress { readonly elements: number, readonly done: boolean, readonly password: boolean }
const progressShape = records<Progress>(1, undefined, { unreadable: 'moved' })

/** The most elements that are stored in one commit. */
const MOST_ELEMENTS = 100
/** The number of steps between two progress reports. */
const TOLD_EVERY = 200

/**
 * Imports the accounts of files. Throws CommandError if a file is not a file of accounts, or if an option says to end.
 */
export async function importAccounts (
  server: Server, files: readonly string[], wishes: ImportOptions, talk: Operator,
): Promise<Imported> {
  const work = new Import(server, await server.storage.open('admin.imports', progressShape), wishes, talk)
  try {
    for (const file of files) await work.file(file)
  } finally {
    await work.close()
  }
  return work.result
}

/** The account that is being imported. */
interface Arrival {
  readonly host: Host
  readonly account: Jid
  /** The fingerprint of the file that the account is in. */
  readonly key: string
  /** The number of elements that an earlier run has handled and that are skipped. */
  readonly skip: number
  /** True if the account gets its keys from the file. */
  readonly password: boolean
  readonly privacy: PrivacyLists<FilePlace>
  elements: number
}

/** The most accounts without keys that are counted, for each host and hash. */
const MOST_COUNTED = 1_000_000

class Import {
  readonly #server: Server
  readonly #progress: Records<Progress>
  readonly #wishes: ImportOptions
  readonly #talk: Operator
  readonly #measure: ReadProgress = { read: 0, whole: 0 }
  readonly #keys = new Map<string, string>()
  /** The kinds of elements that no module imports. Each kind is reported once. */
  readonly #unknown = new Set<string>()
  readonly #hosts = new Set<Host>()
  /** The number of accounts that came without keys and without a password, by host. */
  readonly #keyless = new Map<Host, number>()
  #host: Host | undefined
  #arrival: Arrival | undefined
  #batch = new PendingBatch()
  #batched = 0
  #steps = 0
  #counts = { accounts: 0, before: 0, elements: 0, problems: 0 }

  constructor (server: Server, progress: Records<Progress>, wishes: ImportOptions, talk: Operator) {
    this.#server = server
    this.#progress = progress
    this.#wishes = wishes
    this.#talk = talk
  }

  get result (): Imported { return this.#counts }

  async file (file: string): Promise<void> {
    this.#host = undefined
    this.#arrival = undefined
    try {
      for await (const step of readAccounts(file, this.#measure)) {
        if (this.#talk.gone) throw new CommandError('interrupted: run it again to go on from here')
        await this.#step(step)
        if (++this.#steps % TOLD_EVERY === 0) await this.#tell()
      }
    } catch (error) {
      if (error instanceof CommandError) await this.#store() // keeps what was imported until here
      else this.#batch.fail(error instanceof Error ? error : new Error(String(error)))
      throw error
    }
    await this.#tell()
  }

  /** Reports how many accounts of the hosts have no keys or no password, because their users cannot log in as usual. */
  async close (): Promise<void> {
    for (const host of this.#hosts) {
      for (const hash of HASH_NAMES) {
        if (!host.accounts.lacking.has(hash)) continue
        const count = await host.accounts.countLacking(hash, MOST_COUNTED)
        const whose = count === 1 ? '1 account has' : `${count} accounts have`
        await this.#note(`${host.domain}: ${whose} no keys for SCRAM-${hash.toUpperCase()}. It is not offered there until all accounts have them: ` +
          'an account gets them by a login with PLAIN, by XEP-0480 or by a new password')
      }
      const keyless = this.#keyless.get(host)
      if (keyless !== undefined) {
        const whose = keyless === 1 ? '1 account' : `${keyless} accounts`
        await this.#note(`${host.domain}: ${whose} came without a password. Nobody can log in to them until \`sestina user password\` sets one`)
      }
    }
  }

  async #step (step: Step): Promise<void> {
    switch (step.kind) {
      case 'host': return await this.#enterHost(step.jid, step)
      case 'user': return await this.#enterUser(step.name, step.password, step)
      case 'userEnd': return await this.#leaveUser()
      case 'element':
        // Privacy lists of an earlier run are kept as well: they can be used only when all of them are known.
        if (step.within !== undefined || this.#arrival?.privacy.keep(step.element, step) !== true) {
          return await this.#counted(() => this.#element(step))
        }
        return await this.#counted(() => Promise.resolve())
      case 'refused': return await (step.inUser ? this.#counted(() => this.#problem(step, step.text)) : this.#problem(step, step.text))
    }
  }

  async #enterHost (jid: string, spot: FilePlace): Promise<void> {
    this.#host = undefined
    try {
      this.#host = this.#server.hostOf(parseJid(jid))
    } catch (error) {
      if (!(error instanceof JidError)) throw error
    }
    if (this.#host === undefined) await this.#problem(spot, `'${shortened(jid, 100)}' is not a host of this server that has accounts: none of its accounts is imported`)
  }

  async #enterUser (name: string | undefined, password: string | undefined, spot: FilePlace): Promise<void> {
    this.#arrival = undefined
    const host = this.#host
    if (host === undefined) return
    try {
      const account = jidOf(name ?? '', host.domain)
      if (account.local === '') throw new JidError('the user has no name')
      this.#arrival = await this.#arrivalOf(host, account, password, spot)
      this.#hosts.add(host)
    } catch (error) {
      if (!isRefusal(error)) throw error
      await this.#problem(spot, `${shortened(name ?? '', 100)}: ${reasonOf(error)}`)
    }
  }

  async #arrivalOf (
    host: Host, account: Jid, password: string | undefined, spot: FilePlace,
  ): Promise<Arrival | undefined> {
    const key = this.#keyOf(spot.file)
    const begun = await this.#progress.get(account.toString(), key)
    if (begun?.done === true) {
      this.#counts.before++
      return undefined
    }
    const arrival = (skip: number, takesKeys: boolean): Arrival =>
      ({ host, account, key, skip, password: takesKeys, privacy: new PrivacyLists(), elements: 0 })
    if (begun !== undefined) return await this.#withKeys(arrival(begun.elements, begun.password), password, spot)
    const isHere = await host.exists(account)
    if (isHere && !this.#wishes.merge) throw new AccountExists('the account exists already: nothing is imported for it (use --merge)')
    if (!isHere) {
      this.#batch.add(await host.accounts.arriving(account, isKeys(password) ? undefined : password))
      await host.hooks.fire(accountCreated, { account, batch: this.#batch })
    }
    const arrived = arrival(0, !isHere)
    await this.#store(arrived)
    return await this.#withKeys(arrived, password, spot)
  }

  /** Imports the keys that are written in place of the password. */
  async #withKeys (arrival: Arrival, password: string | undefined, spot: FilePlace): Promise<Arrival> {
    if (!arrival.password || !isKeys(password)) return arrival
    try {
      await this.#addKeys(arrival, credentialsInPassword(password ?? ''))
    } catch (error) {
      if (!isRefusal(error)) throw error
      await this.#problem(spot, `${arrival.account.toString()}: its keys are not imported: ${reasonOf(error)}`)
    }
    return arrival
  }

  async #addKeys ({ host, account }: Arrival, credentials: Credentials | undefined): Promise<void> {
    if (credentials !== undefined) await host.accounts.addKeys(account, credentials.hash, credentials.keys)
  }

  async #leaveUser (): Promise<void> {
    const arrival = this.#arrival
    if (arrival === undefined) return
    const privacy = arrival.privacy.take()
    if (privacy !== undefined) await this.#element({ kind: 'element', element: privacy.query, within: undefined, ...spotOf(privacy.place) })
    const { host, account } = arrival
    const stored = arrival.password ? await host.accounts.stored(account) : undefined
    const isKeyless = stored !== undefined && Object.keys(stored.keys).length === 0
    if (isKeyless) this.#keyless.set(host, (this.#keyless.get(host) ?? 0) + 1)
    await this.#store(arrival, true)
    this.#arrival = undefined
    this.#counts.accounts++
  }

  /** Runs `work`, unless the user is not imported or an earlier run has handled this element. */
  async #counted (work: () => Promise<void>): Promise<void> {
    const arrival = this.#arrival
    if (arrival === undefined) return
    if (arrival.elements < arrival.skip) {
      arrival.elements++
      return
    }
    await work()
    arrival.elements++
    if (++this.#batched >= MOST_ELEMENTS) await this.#store(arrival)
  }

  async #element (step: Extract<Step, { kind: 'element' }>): Promise<void> {
    const arrival = this.#arrival
    if (arrival === undefined) return
    try {
      if (await this.#take(arrival, step)) {
        this.#counts.elements++
        return
      }
    } catch (error) {
      if (!isRefusal(error)) throw error
      await this.#problem(step, `${arrival.account.toString()}: <${localName(step.element)}/>: ${reasonOf(error)}`)
      return
    }
    const name = `<${localName(step.element)} xmlns='${namespaceOf(step.element) ?? ''}'/>`
    if (this.#unknown.has(name) || this.#unknown.size >= 1000) return
    this.#unknown.add(name)
    await this.#problem(step, `no module imports ${name}, here and in all accounts`)
  }

  /** Imports an element. Returns false if no module knows it; throws if it is wrong. */
  async #take (arrival: Arrival, step: Extract<Step, { kind: 'element' }>): Promise<boolean> {
    const { host, account } = arrival
    const { element, within } = step
    if (within === undefined && namespaceOf(element) === NS.PIE_SCRAM) {
      const credentials = credentialsIn(element)
      if (arrival.password) await this.#addKeys(arrival, credentials)
      return true
    }
    if (within === undefined && namespaceOf(element) === NS.ACCOUNT) {
      const locked = child(element, NS.ACCOUNT, 'locked')
      if (locked !== undefined) await host.accounts.lock(account, shortened(textOf(locked), 1000), timeIn(locked))
      return true
    }
    const left: string[] = []
    const event = { account, element, within, batch: this.#batch, leavesOut: (what: string) => { left.push(what) } }
    const isTaken = await host.hooks.fire(accountImporting, event) === 'handled'
    for (const what of left) await this.#note(`${step.file}:${step.line}: ${account.toString()}: ${what}`)
    return isTaken
  }

  /** Stores the imported elements and, with them, the progress of the account. */
  async #store (arrival = this.#arrival, done = false): Promise<void> {
    if (arrival === undefined) return
    const { host, account, key, elements, password } = arrival
    const batch = this.#batch
    this.#batch = new PendingBatch()
    this.#batched = 0
    const progress = { elements: Math.max(elements, arrival.skip), done, password }
    batch.add(this.#progress.putting(account.toString(), key, progress))
    await host.commit(batch)
  }

  async #problem ({ file, line }: FilePlace, text: string): Promise<void> {
    const told = `${file}:${line}: ${text.replace(CONTROL, '?')}`
    if (this.#wishes.strict) throw new CommandError(told)
    this.#counts.problems++
    await this.#talk.tell({ kind: 'problem', text: told })
  }

  /** Reports something that the operator should know but cannot correct in the file. */
  async #note (text: string): Promise<void> {
    await this.#talk.tell({ kind: 'note', text: text.replace(CONTROL, '?') })
  }

  async #tell (): Promise<void> {
    const { accounts, elements } = this.#counts
    await this.#talk.tell({ kind: 'progress', done: this.#measure.read, of: this.#measure.whole, text: `${accounts} accounts, ${elements} elements` })
  }

  /** Returns the fingerprint of a file. The progress of its accounts is stored under it. */
  #keyOf (file: string): string {
    const known = this.#keys.get(file)
    if (known !== undefined) return known
    const key = fingerprint(file)
    if (this.#keys.size >= 10_000) this.#keys.clear()
    this.#keys.set(file, key)
    return key
  }
}

/** Control characters. Texts of the file go to a terminal, which must not obey them. */
const CONTROL = /[\0-\x1f\x7f-\x9f]/g

/** The number of bytes at the beginning and at the end of a file that its fingerprint covers. */
const SAMPLE = 65_536

/** A file is recognised by its size, its beginning and its end. */
function fingerprint (file: string): string {
  const open = openSync(file, 'r')
  try {
    const { size } = fstatSync(open)
    const hash = createHash('sha256').update(String(size))
    for (const from of [0, Math.max(0, size - SAMPLE)]) {
      const bytes = Buffer.alloc(SAMPLE)
      hash.update(bytes.subarray(0, readSync(open, bytes, 0, SAMPLE, from)))
    }
    return hash.digest('base64url')
  } finally {
    closeSync(open)
  }
}

/** Copies the place alone. */
function spotOf ({ file, line }: FilePlace): FilePlace { return { file, line } }

function timeIn (element: Element): number | undefined {
  const since = attributeOf(element, 'since')
  return since === undefined ? undefined : parseDateTime(since)
}

/** True if the file is wrong, and not the server. */
function isRefusal (error: unknown): error is Error {
  return [StanzaError, JidError, PasswordError, PrepError, AccountExists].some(kind => error instanceof kind)
}

function reasonOf (error: Error): string {
  return error instanceof StanzaError ? error.text ?? error.condition : error.message
}

/** True if the text in the password's place has the form of keys, even of wrong ones. */
function isKeys (password: string | undefined): boolean {
  try {
    return password !== undefined && credentialsInPassword(password) !== undefined
  } catch (error) {
    if (!(error instanceof StanzaError)) throw error
    return true
  }
}
