/**
 * Slows down those who guess passwords, and nobody else. Failures count for an account and the network that they come from: its owner
 * is not kept waiting elsewhere, and others in that network only if many accounts fail there. An account that has logged in from a network
 * before is not slowed by the failures of others there, and a client that has logged in before is slowed by its own failures only.
 */
import { Cache } from '../base/cache.js'
import type { Clock } from '../base/clock.js'
import { networkOf } from '../base/network.js'

export interface ThrottleSettings {
  readonly clock: Clock
  /** The wait after the first failure, in milliseconds; it doubles with each further one. */
  readonly delay: number
  /** No wait is longer. */
  readonly longest?: number
  /** Failures are forgotten so long after the last of them. */
  readonly forget: number
  /** Accounts that may fail in a network before it counts for others: many people may share it. */
  readonly free?: number
  /** How many addresses, and pairs of account and address, are remembered. */
  readonly entries?: number
}

/** Attempts of one account from one address that may be under way at once, as long as none has failed. */
const AT_ONCE = 8
/** The longest wait of an account in a network that it has logged in from, in milliseconds: an old password in a phone keeps nobody out. */
const LONGEST_AT_HOME = 10_000
/** Networks, and clients, of one account that are remembered; and characters of all names that are. */
const HOMES = 16
const CHARACTERS = 4_194_304

/** One login that is tried: its account (the bare address), its IP address, and what its client says it is; '' if it does not say. */
export interface Tried { readonly account: string, readonly address: string, readonly device?: string }

/** `delay`: milliseconds to wait before it is looked at, 0 for none; then it begins. */
export interface Attempt { delay (): number, begin (): void, end (): void }

/** What an attempt is counted by. `isKnown`: its account has logged in from there, or by that client. */
interface Place { readonly key: string, readonly network: string, readonly isKnown: boolean }
interface Line { trying: number, readonly waiting: Set<symbol> }

interface Failures {
  readonly count: number
  readonly last: number
}

export class Throttle {
  readonly #clock: Clock
  readonly #delay: number
  readonly #longest: number
  readonly #forget: number
  readonly #free: number
  /** By account and address: who guesses one account's password is slowed for this account, and its owner elsewhere is not. */
  readonly #pairs: Cache<string, Failures>
  /** By address alone: who tries one password with many accounts. */
  readonly #addresses: Cache<string, Failures>
  /** Where accounts have logged in from, and by which clients. Nobody can have them forgotten but by logging in. */
  readonly #homes: Cache<string, readonly string[]>
  /** Attempts under way, and those that wait, by pair: as many guesses at a time would be as many for the wait of one. */
  readonly #lines = new Map<string, Line>()

  constructor (how: ThrottleSettings) {
    this.#clock = how.clock
    this.#delay = how.delay
    this.#longest = how.longest ?? 60_000
    this.#forget = how.forget
    this.#free = how.free ?? 10
    this.#pairs = new Cache({ max: how.entries ?? 20_000 })
    this.#addresses = new Cache({ max: how.entries ?? 20_000 })
    this.#homes = new Cache({ maxSize: CHARACTERS, sizeCalculation: (homes, account) => account.length + homes.join('').length + 1 })
  }

  /** Milliseconds to wait before an attempt is looked at. */
  delayFor (tried: Tried): number {
    const place = this.#placeOf(tried)
    return this.#delayOf(place, this.#lines.get(place.key), undefined)
  }

  /** An attempt that is to be looked at, or waits for that. `end` is called once, when it is decided or given up. */
  attempt (tried: Tried): Attempt {
    const place = this.#placeOf(tried)
    const line = this.#lines.get(place.key) ?? { trying: 0, waiting: new Set() }
    this.#lines.set(place.key, line)
    const ticket = Symbol('attempt')
    line.waiting.add(ticket)
    let isUnderWay = false
    return {
      delay: () => this.#delayOf(place, line, ticket),
      begin: () => {
        line.waiting.delete(ticket)
        line.trying++
        isUnderWay = true
      },
      end: () => {
        line.waiting.delete(ticket)
        if (isUnderWay) line.trying--
        isUnderWay = false
        if (line.trying === 0 && line.waiting.size === 0 && this.#lines.get(place.key) === line) this.#lines.delete(place.key)
      },
    }
  }

  /** An attempt with wrong credentials. */
  failed (tried: Tried): void {
    const { key, network, isKnown } = this.#placeOf(tried)
    // Once for an account: a phone that retries an old password is no sweep over many accounts.
    if (!isKnown && this.#remembered(this.#pairs, key) === undefined) this.#add(this.#addresses, network)
    this.#add(this.#pairs, key)
  }

  /** The owner is here: only what counts for this account is cleared, or an account of their own would let them guess on. */
  succeeded (tried: Tried): void {
    const { account, device = '' } = tried
    const network = networkOf(tried.address)
    this.#pairs.delete(this.#placeOf(tried).key)
    const fresh = [network, ...device === '' ? [] : [clientKey(device)]]
    const homes = [...fresh, ...(this.#homes.get(account) ?? []).filter(home => !fresh.includes(home))]
    this.#homes.set(account, homes.slice(0, HOMES))
    this.#pairs.delete(this.#placeOf(tried).key)
  }

  #placeOf ({ account, address, device = '' }: Tried): Place {
    const network = networkOf(address)
    const homes = this.#homes.get(account)
    if (device !== '' && homes?.includes(clientKey(device)) === true) return { key: `${clientKey(device)} ${account}`, network, isKnown: true }
    return { key: `${network} ${account}`, network, isKnown: homes?.includes(network) === true }
  }

  /** Those who wait go one after the other: who came first is not overtaken by one who tries again and again. */
  #delayOf ({ key, network, isKnown }: Place, line: Line | undefined, ticket: symbol | undefined): number {
    const pair = this.#remembered(this.#pairs, key)
    const [first] = line?.waiting ?? []
    const isCrowded = (line?.trying ?? 0) >= (pair === undefined ? AT_ONCE : 1)
    const isBehind = pair !== undefined && first !== undefined && first !== ticket
    const own = this.#wait(pair, 0, isKnown ? LONGEST_AT_HOME : this.#longest)
    const others = isKnown ? 0 : this.#wait(this.#remembered(this.#addresses, network), this.#free, this.#longest)
    return Math.max(own, others, isCrowded || isBehind ? this.#delay : 0)
  }

  #wait (failures: Failures | undefined, free: number, longest: number): number {
    const count = (failures?.count ?? 0) - free
    if (failures === undefined || count <= 0) return 0
    // 2 ** 30 is beyond every bound: the exponent must not run away.
    const delay = Math.min(this.#delay * 2 ** Math.min(count - 1, 30), longest)
    return Math.max(0, failures.last + delay - this.#clock.now())
  }

  #add (cache: Cache<string, Failures>, key: string): void {
    const count = this.#remembered(cache, key)?.count ?? 0
    cache.set(key, { count: count + 1, last: this.#clock.now() })
  }

  #remembered (cache: Cache<string, Failures>, key: string): Failures | undefined {
    const failures = cache.get(key)
    return failures === undefined || this.#clock.now() >= failures.last + this.#forget ? undefined : failures
  }
}

/** Clients and networks share a list: no network is written so. */
function clientKey (device: string): string { return `client ${device}` }
