/** XEP-0227: accounts out of a file, each element checked by the module that keeps it; what an import did not finish, the next one does. */
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { strictBase64 } from '../auth/base64.js'
import { AccountExists } from '../auth/accounts.js'
import { HASHES, PasswordError, type HashName, type Keys } from '../auth/keys.js'
import { shortened } from '../base/text.js'
import { accountCreated, accountImporting } from '../host/events.js'
import type { Host } from '../host/host.js'
import type { Server } from '../host/server.js'
import { PendingBatch } from '../storage/batch.js'
import { records, type Records } from '../storage/store.js'
import { child, localName, attributeOf, namespaceOf, textOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { parseDateTime } from '../xmpp/datetime.js'
import { StanzaError } from '../xmpp/errors.js'
import { JidError, jidOf, parseJid, type Jid } from '../xmpp/jid.js'
import { PrepError } from '../xmpp/prep.js'
import { readAccounts, type Measure, type Spot, type Step } from './account-file.js'
import { CommandError, type Talk } from './talk.js'

export interface ImportWishes {
  /** What cannot be taken ends the import, instead of being told and left out. */
  readonly strict: boolean
  /** Accounts that are here already take over what the file has for them; their passwords stay. */
  readonly merge: boolean
}

export interface Imported {
  readonly accounts: number
  /** Accounts whose import was finished before. */
  readonly before: number
  /** Elements: contacts, messages, cards. */
  readonly elements: number
  readonly problems: number
}

/**
 * How far an account's import from one file has come: elements that were taken or refused. Stored with them in one commit, under the
 * account, so that it goes with it.
 */
interface Progress { readonly elements: number, readonly done: boolean, readonly password: boolean }
const progressShape = records<Progress>(1, undefined, { unreadable: 'moved' })

/** Elements, and characters of them, that are stored at a time. */
const MOST_ELEMENTS = 100
/** Elements between two words about the progress. */
const TOLD_EVERY = 200

/** Imports the accounts of files. Throws CommandError where one is no such file, or a wish says to end. */
export async function importAccounts (server: Server, files: readonly string[], wishes: ImportWishes, talk: Talk): Promise<Imported> {
  const work = new Import(server, await server.storage.open('admin.imports', progressShape), wishes, talk)
  for (const file of files) await work.file(file)
  return work.result
}

/** The user whose elements come now. */
interface Arrival {
  readonly host: Host
  readonly account: Jid
  /** Of the file that it stands in. */
  readonly key: string
  /** Elements of an earlier run that are not taken again. */
  readonly skip: number
  /** Whether its keys are taken from the file. */
  readonly password: boolean
  elements: number
}

class Import {
  readonly #server: Server
  readonly #progress: Records<Progress>
  readonly #wishes: ImportWishes
  readonly #talk: Talk
  readonly #measure: Measure = { read: 0, whole: 0 }
  readonly #keys = new Map<string, string>()
  /** What nothing here takes is told once a kind. */
  readonly #unknown = new Set<string>()
  #host: Host | undefined
  #arrival: Arrival | undefined
  #batch = new PendingBatch()
  #batched = 0
  #steps = 0
  #counts = { accounts: 0, before: 0, elements: 0, problems: 0 }

  constructor (server: Server, progress: Records<Progress>, wishes: ImportWishes, talk: Talk) {
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
        if (this.#talk.gone) throw new CommandError('interrupted: run it again, and it goes on from here')
        await this.#step(step)
        if (++this.#steps % TOLD_EVERY === 0) await this.#tell()
      }
    } catch (error) {
      if (error instanceof CommandError) await this.#store() // what was taken until here is
      else this.#batch.fail(error instanceof Error ? error : new Error(String(error)))
      throw error
    }
    await this.#tell()
  }

  async #step (step: Step): Promise<void> {
    switch (step.kind) {
      case 'host': return await this.#enterHost(step.jid, step)
      case 'user': return await this.#enterUser(step.name, step.password, step)
      case 'userEnd': return await this.#leaveUser()
      case 'element': return await this.#counted(() => this.#element(step))
      case 'refused': return await (step.inUser ? this.#counted(() => this.#problem(step, step.text)) : this.#problem(step, step.text))
    }
  }

  async #enterHost (jid: string, spot: Spot): Promise<void> {
    this.#host = undefined
    try {
      this.#host = this.#server.hostOf(parseJid(jid))
    } catch (error) {
      if (!(error instanceof JidError)) throw error
    }
    if (this.#host === undefined) await this.#problem(spot, `'${shortened(jid, 100)}' is no host of this server: none of its accounts is taken`)
  }

  async #enterUser (name: string | undefined, password: string | undefined, spot: Spot): Promise<void> {
    this.#arrival = undefined
    const host = this.#host
    if (host === undefined) return
    try {
      const account = jidOf(name ?? '', host.domain)
      if (account.local === '') throw new JidError('a user without a name')
      this.#arrival = await this.#arrivalOf(host, account, password, spot)
    } catch (error) {
      if (!isRefusal(error)) throw error
      await this.#problem(spot, `${shortened(name ?? '', 100)}: ${reasonOf(error)}`)
    }
  }

  async #arrivalOf (host: Host, account: Jid, password: string | undefined, spot: Spot): Promise<Arrival | undefined> {
    const key = this.#keyOf(spot.file)
    const begun = await this.#progress.get(account.toString(), key)
    if (begun?.done === true) {
      this.#counts.before++
      return undefined
    }
    if (begun !== undefined) return { host, account, key, skip: begun.elements, password: begun.password, elements: 0 }
    const isHere = await host.exists(account)
    if (isHere && !this.#wishes.merge) throw new AccountExists('there is such an account already: nothing of it is taken (--merge takes it)')
    const arrival: Arrival = { host, account, key, skip: 0, password: !isHere, elements: 0 }
    if (!isHere) {
      this.#batch.add(await host.accounts.arriving(account, password))
      await host.hooks.fire(accountCreated, { account, batch: this.#batch })
    }
    await this.#store(arrival)
    return arrival
  }

  async #leaveUser (): Promise<void> {
    const arrival = this.#arrival
    if (arrival === undefined) return
    await this.#store(arrival, true)
    this.#arrival = undefined
    this.#counts.accounts++
  }

  /** Elements of a user that is not taken are passed over; so are those that an earlier run has dealt with. */
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
    await this.#problem(step, `nothing here takes ${name}, neither here nor in other accounts`)
  }

  /** Whether anybody has taken it. Throws where it cannot be taken. */
  async #take ({ host, account, password }: Arrival, { element, within }: Extract<Step, { kind: 'element' }>): Promise<boolean> {
    if (within === undefined && namespaceOf(element) === NS.PIE_SCRAM) {
      const { hash, keys } = credentialsIn(element)
      if (password) await host.accounts.addKeys(account, hash, keys)
      return true
    }
    if (within === undefined && namespaceOf(element) === NS.ACCOUNT) {
      const locked = child(element, NS.ACCOUNT, 'locked')
      if (locked !== undefined) await host.accounts.lock(account, shortened(textOf(locked), 1000), timeIn(locked))
      return true
    }
    return await host.hooks.fire(accountImporting, { account, element, within, batch: this.#batch }) === 'handled'
  }

  /** Stores what was taken, and with it how far the account is. */
  async #store (arrival = this.#arrival, done = false): Promise<void> {
    if (arrival === undefined) return
    const { host, account, key, elements, password } = arrival
    const batch = this.#batch
    this.#batch = new PendingBatch()
    this.#batched = 0
    batch.add(this.#progress.putting(account.toString(), key, { elements: Math.max(elements, arrival.skip), done, password }))
    await host.commit(batch)
  }

  async #problem ({ file, line }: Spot, text: string): Promise<void> {
    const told = `${file}:${line}: ${text.replace(CONTROL, '?')}`
    if (this.#wishes.strict) throw new CommandError(told)
    this.#counts.problems++
    await this.#talk.tell({ kind: 'problem', text: told })
  }

  async #tell (): Promise<void> {
    const { accounts, elements } = this.#counts
    await this.#talk.tell({ kind: 'progress', done: this.#measure.read, of: this.#measure.whole, text: `${accounts} accounts, ${elements} elements` })
  }

  /** A file is known again by its size, its beginning and its end: an account's place in it is remembered under that. */
  #keyOf (file: string): string {
    const known = this.#keys.get(file)
    if (known !== undefined) return known
    const key = fingerprint(file)
    if (this.#keys.size >= 10_000) this.#keys.clear()
    this.#keys.set(file, key)
    return key
  }
}

/** The file's words go to a terminal: they must not speak to it. */
const CONTROL = /[\0-\x1f\x7f-\x9f]/g

const SAMPLE = 65_536

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

const HASH_OF: ReadonlyMap<string, HashName> = new Map([['SCRAM-SHA-1', 'sha-1'], ['SCRAM-SHA-256', 'sha-256'], ['SCRAM-SHA-512', 'sha-512']])
/** Beyond it a login would cost the server too much; the conf allows no more either. */
const MOST_ITERATIONS = 1_000_000
const LONGEST_SALT = 1024

/** XEP-0227 §4.3. Throws StanzaError where it is anything but keys that a login can be checked against. */
function credentialsIn (element: Element): { readonly hash: HashName, readonly keys: Keys } {
  const wrong = (text: string): StanzaError => new StanzaError('not-acceptable', text)
  const part = (name: string): string => {
    const found = child(element, NS.PIE_SCRAM, name)
    if (found === undefined) throw wrong(`no <${name}/>`)
    return textOf(found).trim()
  }
  const mechanism = attributeOf(element, 'mechanism') ?? ''
  const hash = HASH_OF.get(mechanism)
  if (hash === undefined) throw wrong(`'${shortened(mechanism, 40)}' is not spoken here`)
  const count = part('iter-count')
  const iterations = /^[1-9]\d{0,6}$/.test(count) ? Number(count) : MOST_ITERATIONS + 1
  if (iterations > MOST_ITERATIONS) throw wrong(`not a count of iterations up to ${MOST_ITERATIONS}`)
  const { size } = HASHES[hash]
  const [salt, storedKey, serverKey] = [part('salt'), part('stored-key'), part('server-key')]
  const bytes = salt.length > 2 * LONGEST_SALT ? undefined : strictBase64(salt)
  if (bytes === undefined || bytes.length === 0 || bytes.length > LONGEST_SALT) throw wrong('not a salt')
  for (const key of [storedKey, serverKey]) if (key.length > 2 * size || strictBase64(key)?.length !== size) throw wrong(`not keys of ${mechanism}`)
  return { hash, keys: { salt, iterations, storedKey, serverKey } }
}

function timeIn (element: Element): number | undefined {
  const since = attributeOf(element, 'since')
  return since === undefined ? undefined : parseDateTime(since)
}

/** What the file is to blame for, not the server. */
function isRefusal (error: unknown): error is Error {
  return [StanzaError, JidError, PasswordError, PrepError, AccountExists].some(kind => error instanceof kind)
}

function reasonOf (error: Error): string {
  return error instanceof StanzaError ? error.text ?? error.condition : error.message
}
