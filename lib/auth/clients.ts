/** The clients of accounts that say who they are (XEP-0388 §2.3): when each was here, and the tokens it logs in with (XEP-0484). */
import { createHash, randomBytes } from 'node:crypto'
import type { Clock } from '../base/clock.js'
import { hasForm } from '../storage/shape.js'
import { records, type Records } from '../storage/store.js'
import type { Jid } from '../xmpp/jid.js'
import type { TokenMechanism } from './hashed-token.js'

/** A secret that a client was given instead of its password, good for one mechanism. Times are milliseconds since 1970. */
export interface Token {
  readonly secret: string
  readonly mechanism: TokenMechanism
  readonly made: number
  readonly expires: number
}

/** One client as it is stored. */
export interface Client {
  /** What its owner knows it by (XEP-0494): it says nothing of the client. */
  readonly id: string
  readonly firstSeen: number
  readonly lastSeen: number
  readonly software: string
  readonly device: string
  /** When it last proved to know the password. */
  readonly password?: number
  /** The token it uses, and the one it was given and has not used yet (XEP-0484 §5.1). */
  readonly current?: Token
  readonly next?: Token
}

/** What a client says of itself; `id` is its own, stable and secret. */
export interface Agent { readonly id: string, readonly software: string, readonly device: string }

/** How a client has just logged in, and what it wants. */
export interface Visit {
  readonly by: 'password' | 'token' | 'certificate'
  /** The token that it came with. */
  readonly used?: Token | undefined
  /** That token is to be good for nothing from now on. */
  readonly invalidate?: boolean
  /** It asks for a token for this mechanism. */
  readonly wants?: TokenMechanism | undefined
  /** How long a new token is good for, in milliseconds. */
  readonly lifetime: number
}

/** Owner: the account's bare address, so that they go with it. Key: `keyOf` the client's own id. */
export const clientsShape = records<Client>(1, undefined, { check: isClient, unreadable: 'moved' })

/** A token that cannot be read is good for nothing: its client logs in by its password. */
function isClient (value: unknown): boolean {
  const isToken = (token: unknown): boolean =>
    token === undefined || hasForm(token, { secret: 'string', mechanism: 'string', made: 'number', expires: 'number' })
  return hasForm(value, {
    id: 'string', firstSeen: 'number', lastSeen: 'number', software: 'string', device: 'string', password: 'number?',
    current: 'object?', next: 'object?',
  }) && isToken(value['current']) && isToken(value['next'])
}

/** Clients of one account that are remembered; beyond, the one that was not seen for the longest time is forgotten with its tokens. */
const MOST = 32
/** Clients that were not seen for so long are forgotten: 90 days, in milliseconds. */
const KEPT = 90 * 86_400_000
/** A token in use is replaced when it is as old as a day: what leaks is soon worth nothing. */
const ROTATION = 86_400_000
const SECRET_SIZE = 32
const ID_SIZE = 12

/** What a client's own id is stored as: nobody who reads the storage can pass for it by its id. */
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

  /** The tokens that a client may log in with, the newest first; expired ones are among them. */
  async tokens (account: Jid, agent: string): Promise<readonly Token[]> {
    const client = await this.#records.get(account.bare.toString(), keyOf(agent))
    return [client?.next, client?.current].filter(token => token !== undefined)
  }

  /**
   * Takes note of a login that has succeeded; answers with the token that the client is to be given, once it is stored. 'gone': the token
   * that it came with has been taken away meanwhile.
   */
  async visited (account: Jid, agent: Agent, visit: Visit): Promise<Token | undefined | 'gone'> {
    const now = this.#clock.now()
    const fresh = { id: randomBytes(ID_SIZE).toString('base64url'), secret: randomBytes(SECRET_SIZE).toString('base64url') }
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

  /** All that are remembered, by key. */
  of (account: Jid): Promise<ReadonlyMap<string, Client>> {
    return this.#records.all(account.bare.toString())
  }

  /**
   * Forgets one client and its tokens, by the id that its owner knows; of one that knows the password the tokens alone, for its owner is
   * to see that it can come back. Answers with its key and what it was, undefined where there is none.
   */
  async revoke (account: Jid, id: string): Promise<readonly [key: string, client: Client] | undefined> {
    let found: readonly [string, Client] | undefined
    await this.#records.change(account.bare.toString(), old => {
      found = [...old].find(([, client]) => client.id === id)
      if (found === undefined) return new Map()
      const [key, { firstSeen, lastSeen, software, device, password }] = found
      return new Map([[key, password === undefined ? undefined : { id, firstSeen, lastSeen, software, device, password }]])
    })
    return found
  }

  /** Takes the tokens of all clients away: the password is another now, and none of them has proved to know it. */
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

/** The client as it is after a login. Pure. */
function afterVisit (old: Client | undefined, agent: Agent, visit: Visit, now: number, fresh: Fresh): Client {
  const { current, next } = tokensAfter(old, visit, now, fresh)
  const password = visit.by === 'password' ? now : old?.password
  return {
    id: old?.id ?? fresh.id,
    firstSeen: old?.firstSeen ?? now,
    lastSeen: now,
    software: agent.software === '' ? old?.software ?? '' : agent.software,
    device: agent.device === '' ? old?.device ?? '' : agent.device,
    ...password === undefined ? {} : { password },
    ...current === undefined ? {} : { current },
    ...next === undefined ? {} : { next },
  }
}

/** XEP-0484 §3.5, §3.6, §5.1. */
function tokensAfter (old: Client | undefined, visit: Visit, now: number, fresh: Fresh): Pick<Client, 'current' | 'next'> {
  const { used } = visit
  let { current, next } = old ?? {}
  if (used !== undefined && used.made === next?.made) {
    // The client has it: the one before is good for nothing any longer.
    current = next
    next = undefined
  }
  if (used !== undefined && visit.invalidate === true) current = next = undefined
  const isDue = used !== undefined && visit.invalidate !== true && now >= used.made + ROTATION
  const mechanism = visit.wants ?? (isDue ? used.mechanism : undefined)
  if (mechanism !== undefined) next = { secret: fresh.secret, mechanism, made: now, expires: now + visit.lifetime }
  return { ...current === undefined ? {} : { current }, ...next === undefined ? {} : { next } }
}

/** Keys of those that make room for others, or have not been here for long. */
function forgotten (clients: ReadonlyMap<string, Client>, visitor: string, now: number): readonly string[] {
  const others = [...clients].filter(([key]) => key !== visitor).sort(([, a], [, b]) => b.lastSeen - a.lastSeen)
  return others.filter(([, client], place) => place >= MOST - 1 || client.lastSeen < now - KEPT).map(([key]) => key)
}
