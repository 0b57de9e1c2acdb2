/** The stage of the login tests: accounts in memory that record each call to storage, and SCRAM clients. */
import crypto, { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import { mock } from 'node:test'
import type { Ids } from '../../lib/base/ids.js'
import { Accounts, type Account, type AccountsDeps } from '../../lib/auth/accounts.js'
import type { StoredKinds } from '../../lib/auth/key-profiles.js'
import type { ChannelBinding } from '../../lib/auth/channel-binding.js'
import { HASHES, type HashName } from '../../lib/auth/keys.js'
import { MECHANISMS, offered, start, type MechanismName } from '../../lib/auth/mechanisms.js'
import type { Advertised, MechanismContext, SaslDialogue, SaslStep } from '../../lib/auth/mechanism.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import type { Records, Write } from '../../lib/storage/store.js'
import { FakeClock } from '../fake-clock.js'

interface Page { readonly after?: string, readonly limit: number }

/** Records in memory. Each call is recorded in `calls`. Writes made by `putting` wait for `commit`. */
export class NotedRecords<V> implements Records<V> {
  readonly rows = new Map<string, Map<string, V>>()
  readonly calls: string[] = []
  #pending: { readonly owner: string, readonly key: string, readonly value: V | undefined }[] = []
  /** `get` waits for this promise. */
  gate: Promise<void> = Promise.resolve()
  broken = false

  async get (owner: string, key: string): Promise<V | undefined> {
    this.#note('get')
    const value = this.rows.get(owner)?.get(key)
    await this.gate
    return value
  }

  async all (owner: string, page: Page = { limit: Infinity }): Promise<ReadonlyMap<string, V>> {
    this.#note('all')
    const rows = [...this.rows.get(owner) ?? []].sort(([a], [b]) => a < b ? -1 : 1)
    return new Map(rows.filter(([key]) => page.after === undefined || key > page.after).slice(0, page.limit))
  }

  async owners (): Promise<readonly string[]> { return [...this.rows.keys()] }

  async put (owner: string, key: string, value: V | undefined): Promise<void> {
    this.#note('put')
    this.#set(owner, key, value)
  }

  async change (
    owner: string, next: (old: ReadonlyMap<string, V>) => ReadonlyMap<string, V | undefined>,
  ): Promise<void> {
    this.#note('change')
    for (const [key, value] of next(this.rows.get(owner) ?? new Map<string, V>())) this.#set(owner, key, value)
  }

  putting (owner: string, key: string, value: V | undefined): Write {
    this.#pending.push({ owner, key, value })
    return { store: 'accounts' }
  }

  clearing (): Write { return { store: 'accounts' } }
  setAside (): Promise<void> { return Promise.resolve() }

  commit (): void {
    for (const { owner, key, value } of this.#pending) this.#set(owner, key, value)
    this.#pending = []
  }

  fail (): void { this.#pending = [] }

  #set (owner: string, key: string, value: V | undefined): void {
    const rows = this.rows.get(owner) ?? new Map<string, V>()
    this.rows.set(owner, rows)
    if (value === undefined) rows.delete(key)
    else rows.set(key, value)
  }

  #note (call: string): void {
    this.calls.push(call)
    if (this.broken) throw new Error('the disk is gone')
  }
}

export const DOMAIN = 'example.org'
/** Few iterations, so that the tests are fast. */
export const ITERATIONS = 100

export async function openAccounts (how: Partial<AccountsDeps> = {}) {
  const records = new NotedRecords<Account>()
  const secrets = new NotedRecords<{ readonly secret: string }>()
  const index = new NotedRecords<StoredKinds | true>()
  const clock = new FakeClock()
  const accounts = await Accounts.open({
    domain: DOMAIN, clock, records, secrets, index, iterations: ITERATIONS, ...how,
  })
  records.calls.length = 0
  return { accounts, records, secrets, index, clock }
}

export const EXPORTED: ChannelBinding = { type: 'tls-exporter', announced: true, bytes: () => Buffer.alloc(32, 'exporter') }
export const END_POINT: ChannelBinding = { type: 'tls-server-end-point', announced: true, bytes: () => Buffer.alloc(32, 'certificate') }

export function contextOf (accounts: Accounts, how: Partial<MechanismContext> = {}): MechanismContext {
  return {
    accounts, ids: counting(), secure: true, bindings: [EXPORTED, END_POINT], certificate: undefined,
    allowed: MECHANISMS, ...how,
  }
}

export function advertisedBy (context: MechanismContext): Advertised {
  const bindings = context.bindings.map(({ type }) => type)
  return { mechanisms: offered(context), bindings: bindings.length === 0 ? undefined : bindings }
}

export function counting (): Ids {
  let count = 0
  return { next: () => `id${++count}` }
}

export interface ScramClient {
  readonly username: string
  readonly password: string
  readonly hash: HashName
  /** The gs2 header; "n,," by default. */
  readonly header?: string
  readonly binding?: Uint8Array
  readonly nonce?: string
}

/** Plays a SCRAM client to the end. Shares no code with the server. */
export async function play (dialogue: SaslDialogue, client: ScramClient) {
  const { username, password, hash, header = 'n,,', binding = new Uint8Array(0), nonce = 'cnonce' } = client
  const { digest, size } = HASHES[hash]
  const bare = `n=${username},r=${nonce}`
  const first = await dialogue.step(Buffer.from(header + bare))
  if (first.kind !== 'challenge') return { last: first, first: '', verified: false }
  const challenge = textOf(first)
  const [, all = '', salt = '', iterations = ''] = /^r=([^,]+),s=([^,]+),i=(\d+)/.exec(challenge) ?? []
  const withoutProof = `c=${Buffer.concat([Buffer.from(header), binding]).toString('base64')},r=${all}`
  const message = `${bare},${challenge},${withoutProof}`
  const salted = pbkdf2Sync(password.normalize('NFKC'), Buffer.from(salt, 'base64'), Number(iterations), size, digest)
  const clientKey = createHmac(digest, salted).update('Client Key').digest()
  const signature = createHmac(digest, createHash(digest).update(clientKey).digest()).update(message).digest()
  const proof = clientKey.map((byte, index) => byte ^ (signature[index] ?? 0))
  const last = await dialogue.step(Buffer.from(`${withoutProof},p=${Buffer.from(proof).toString('base64')}`))
  const serverKey = createHmac(digest, salted).update('Server Key').digest()
  const expected = `v=${createHmac(digest, serverKey).update(message).digest('base64')}`
  return { last, first: challenge, verified: textOf(last) === expected }
}

/** The data of a step as text; empty if it has none. */
export function textOf (step: SaslStep): string {
  return step.kind === 'failure' || step.data === undefined ? '' : Buffer.from(step.data).toString()
}

export const ROMEO = parseJid('romeo@example.org')
export const SCRAM: readonly (readonly [MechanismName, HashName])[] = [
  ['SCRAM-SHA-1', 'sha-1'], ['SCRAM-SHA-256', 'sha-256'], ['SCRAM-SHA-512', 'sha-512'],
]

/** Romeo with the password "pencil", and a stream that may use every mechanism. */
export async function romeoStage (how: Partial<MechanismContext> = {}) {
  const stage = await openAccounts()
  await stage.accounts.create(ROMEO, 'pencil')
  const context = contextOf(stage.accounts, how)
  return { ...stage, context, begin: (name: string) => start(name, context, advertisedBy(context)) }
}

export const plainOf = (identity: string, name: string, password: string): Buffer => Buffer.from(`${identity}\0${name}\0${password}`)
export const outcome = (step: SaslStep): string => step.kind === 'failure' ? step.condition : step.kind
export const settled = (step: SaslStep): string => step.kind === 'success' ? step.account.toString() : outcome(step)

/** Runs `run`, and returns the names of the calls to node:crypto that it makes. */
export async function cryptoCalls (run: () => Promise<unknown>): Promise<readonly string[]> {
  const calls: string[] = []
  const names = ['createHash', 'createHmac', 'timingSafeEqual', 'randomBytes', 'pbkdf2', 'pbkdf2Sync'] as const
  const mocks = names.map(name => {
    const original = crypto[name]
    return mock.method(crypto, name, (...parameters: unknown[]): unknown => {
      calls.push(`${name} ${typeof parameters[0] === 'string' ? parameters[0] : ''}`)
      return Reflect.apply(original, crypto, parameters)
    })
  })
  syncBuiltinESMExports()
  try {
    await run()
  } finally {
    for (const one of mocks) one.mock.restore()
    syncBuiltinESMExports()
  }
  return calls
}
