/**
 * The clients of accounts that identify themselves (XEP-0388 §2.3): when each was last seen, and its login tokens
 * (XEP-0484).
 */
import { createHash, randomBytes } from 'node:crypto'
import type { Clock } from '../base/clock.js'
import { hasForm } from '../storage/shape.js'
import { records, type Records } from '../storage/store.js'
import type { Jid } from '../xmpp/jid.js'
import type { Token, TokenMechanism } from './token.js'

/** One client as it is stored. */
export interface Client {
  /** The id that the account's owner sees (XEP-0494). It says nothing about the client. */
  readonly id: string
  readonly firstSeen: number
  readonly lastSeen: number
  readonly software: string
  readonly device: string
  /** When the client last proved that it knows the password. */
  readonly password?: number
  /** The token in use, and the one that was issued and not used yet (XEP-0484 §5.1). */
  readonly current?: Token
  readonly next?: Token
}

/** How a client describes itself. `id` is its own id, stable and secret. */
export interface Agent { readonly id: string, readonly software: string, readonly device: string }

/** A login that has succeeded: how it was proved, and what the client asks for. */
export interface LoginNote {
  readonly by: 'password' | 'token' | 'certificate'
  /** The token that the client logged in with. */
  readonly used?: Token | undefined
  /** True if that token becomes invalid now. */
  readonly invalidate?: boolean
  /** The mechanism for which the client requests a token. */
  readonly wants?: TokenMechanism | undefined
  /** The lifetime of a new token, in milliseconds. */
  readonly lifetime: number
}

/**
 * The owner is the account's bare address, so that clients are removed with it. The key is `keyOf` of the client's own
 * id.
 */
export const clientsShape = records<Client>(1, undefined, { check: isClient, unreadable: 'moved' })

/**
 * True if the value is a stored client. With an unreadable token the client is not read: it logs in by its password.
 */
function isClient (value: unknown): boolean {
  const isToken = (token: unknown): boolean =>
    token === undefined || hasForm(token, { secret: 'string', mechanism: 'string', made: 'number', expires: 'number' })
  return hasForm(value, {
    id: 'string', firstSeen: 'number', lastSeen: 'number', software: 'string', device: 'string', password: 'number?',
    current: 'object?', next: 'object?',
  }) && isToken(value['current']) && isToken(value['next'])
}

/**
 * The most clients of one account. After that, the client that was not seen for the longest time is forgotten with its
 * tokens.
 */
const MOST = 32
/** Clients that were not seen for this time are forgotten: 90 days, in milliseconds. */
const KEPT = 90 * 86_400_000
/** A token in use is replaced after a day, so that a stolen one soon becomes useless. In milliseconds. */
const ROTATION = 86_400_000
const SECRET_SIZE = 32
const ID_SIZE = 12

/**
 * Returns the key of a client: a hash of its own id. Somebody who reads the storage cannot use it to pass for the
 * client.
 */
export function keyOf (agent: string): string {
  return createHash('sha256').update(agent).digest('hex')
}

export class Clients {
  readonly #records: Records<Client>
  readonly #clock: Clock

  constructor (store: Records<Client>, clock: Clock) {
    this.#records = store
    this.#clock = clock
  }

  /** The tokens that a client may log in with, the newest first. Expired ones are included. */
  async tokens (account: Jid, agent: string): Promise<readonly Token[]> {
    const client = await this.#records.get(account.bare.toString(), keyOf(agent))
    return [client?.next, client?.current].filter(token => token !== undefined)
  }

  /**
   * Notes a login that has succeeded. Resolves, after it is stored, with the token to issue to the client. 'gone' means
   * that the token of this login was revoked meanwhile.
   */
  async visited (account: Jid, agent: Agent, visit: LoginNote): Promise<Token | undefined | 'gone'> {
    const now = this.#clock.now()
    const fresh = {
      id: randomBytes(ID_SIZE).toString('base64url'),
      secret: randomBytes(SECRET_SIZE).toString('base64url'),
    }
    const key = keyOf(agent.id)
    let issued: Token | undefined | 'gone'
    await this.#records.change(account.bare.toString(), old => {
      const changes = new Map<string, Client | undefined>()
      if (visit.used !== undefined && !has(old.get(key), visit.used)) {
        issued = 'gone'
        return changes
      }
      const after = afterVisit(old.get(key), agent, visit, now, fresh)
      issued = after.next?.made === now && after.next !== old.get(key)?.next ? after.next : undefined
      changes.set(key, after)
      for (const name of forgotten(old, key, now)) changes.set(name, undefined)
      return changes
    })
    return issued
  }

  /** All remembered clients, by key. */
  of (account: Jid): Promise<ReadonlyMap<string, Client>> {
    return this.#records.all(account.bare.toString())
  }

  /**
   * Forgets one client and its tokens, by the id that the account's owner sees. Of a client that knows the password
   * only the tokens are removed: the owner must be able to see that it can log in again. Resolves with its key and its
   * former state; undefined if there is no such client.
   */
  async revoke (account: Jid, id: string): Promise<readonly [key: string, client: Client] | undefined> {
    let found: readonly [string, Client] | undefined
    await this.#records.change(account.bare.toString(), old => {
      found = [...old].find(([, client]) => client.id === id)
      if (found === undefined) return new Map()
      const [key, { firstSeen, lastSeen, software, device, password }] = found
      const rest = password === undefined ? undefined : { id, firstSeen, lastSeen, software, device, password }
      return new Map([[key, rest]])
    })
    return found
  }

  /**
   * Removes the tokens of all clients: the password has changed, and none of them has proved that it knows the new one.
   */
  async passwordChanged (account: Jid): Promise<void> {
    await this.#records.change(account.bare.toString(), old => new Map([...old].map(([key, client]) => {
      const { id, firstSeen, lastSeen, software, device } = client
      return [key, { id, firstSeen, lastSeen, software, device }] as const
    })))
  }
}

interface Fresh { readonly id: string, readonly secret: string }

function has (client: Client | undefined, { made }: Token): boolean {
  return client?.current?.made === made || client?.next?.made === made
}

/** Returns the client as it is after a login. Has no side effects. */
function afterVisit (old: Client | undefined, agent: Agent, visit: LoginNote, now: number, fresh: Fresh): Client {
  const { current, next } = tokensAfter(old, visit, now, fresh)
  const password = visit.by === 'password' ? now : old?.password
  return {
    id: old?.id ?? fresh.id,
    firstSeen: old?.firstSeen ?? now,
    lastSeen: now,
    software: latest(agent.software, old?.software),
    device: latest(agent.device, old?.device),
    ...password === undefined ? {} : { password },
    ...current === undefined ? {} : { current },
    ...next === undefined ? {} : { next },
  }
}

/** Returns what a client says of itself now, else what it said before. */
function latest (said: string, before = ''): string { return said === '' ? before : said }

/** Returns the tokens after a login (XEP-0484 §3.5, §3.6, §5.1). */
function tokensAfter (
  old: Client | undefined, visit: LoginNote, now: number, fresh: Fresh,
): Pick<Client, 'current' | 'next'> {
  const { used } = visit
  let { current, next } = old ?? {}
  if (used !== undefined && used.made === next?.made) {
    // The client has received the new token: the one before becomes invalid.
    current = next
    next = undefined
  }
  if (used !== undefined && visit.invalidate === true) current = next = undefined
  const isDue = used !== undefined && visit.invalidate !== true && now >= used.made + ROTATION
  const mechanism = visit.wants ?? (isDue ? used.mechanism : undefined)
  if (mechanism !== undefined) next = { secret: fresh.secret, mechanism, made: now, expires: now + visit.lifetime }
  return { ...current === undefined ? {} : { current }, ...next === undefined ? {} : { next } }
}

/** The keys of clients to forget: those beyond the limit, and those not seen for long. */
function forgotten (clients: ReadonlyMap<string, Client>, visitor: string, now: number): readonly string[] {
  const others = [...clients].filter(([key]) => key !== visitor).sort(([, a], [, b]) => b.lastSeen - a.lastSeen)
  return others.filter(([, client], place) => place >= MOST - 1 || client.lastSeen < now - KEPT).map(([key]) => key)
}
