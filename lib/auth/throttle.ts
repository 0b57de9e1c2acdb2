/**
 * Delays clients that guess passwords, and nobody else. Failures count for an account together with the network that
 * they come from. So the account's owner does not wait in other networks, and other accounts in that network wait only
 * if many accounts fail there. An account that has logged in from a network before is not delayed by failures of other
 * accounts there. A client that has logged in before is delayed only by its own failures.
 */
import { Cache } from '../base/cache.js'
import type { Clock } from '../base/clock.js'
import { networkOf } from '../base/network.js'

export interface ThrottleSettings {
  readonly clock: Clock
  /** The wait after the first failure, in milliseconds. Each further failure doubles it. */
  readonly delay: number
  /** The longest wait, in milliseconds. */
  readonly longest?: number
  /** Failures are forgotten this time after the last one, in milliseconds. */
  readonly forget: number
  /** How many accounts may fail in a network before it counts for other accounts: many people may share it. */
  readonly free?: number
  /** How many addresses, and pairs of account and address, are remembered. */
  readonly entries?: number
}

/** The most attempts of one account from one address at the same time, as long as none has failed. */
const AT_ONCE = 8
/**
 * The longest wait of an account in a network that it has logged in from, in milliseconds: a phone with an old password
 * must not keep its owner from logging in.
 */
const LONGEST_AT_HOME = 10_000
/** The most networks and clients that are remembered for one account; and the most characters of all these names. */
const HOMES = 16
const CHARACTERS = 4_194_304

/**
 * One login attempt: its account (the bare address), its IP address, and the client's id; '' if the client sent none.
 */
export interface Attempted { readonly account: string, readonly address: string, readonly device?: string }

/**
 * `delay` returns how long to wait before the attempt is checked, in milliseconds, 0 for no wait. Then call `begin`.
 */
export interface Attempt { delay (): number, begin (): void, end (): void }

/** The key that an attempt is counted under. `isKnown`: its account has logged in from this network or client. */
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
  /** Failures by account and address: they delay this account at this address, and not its owner elsewhere. */
  readonly #pairs: Cache<string, Failures>
  /** Failures by address alone: they delay a client that tries one password with many accounts. */
  readonly #addresses: Cache<string, Failures>
  /** The networks and clients that accounts have logged in with. Only a login can push an entry out. */
  readonly #homes: Cache<string, readonly string[]>
  /**
   * Attempts in progress and waiting ones, by pair. Without this, many guesses at the same time would take the wait of
   * one.
   */
  readonly #lines = new Map<string, Line>()

  constructor (how: ThrottleSettings) {
    this.#clock = how.clock
    this.#delay = how.delay
    this.#longest = how.longest ?? 60_000
    this.#forget = how.forget
    this.#free = how.free ?? 10
    this.#pairs = new Cache({ max: how.entries ?? 20_000 })
    this.#addresses = new Cache({ max: how.entries ?? 20_000 })
    this.#homes = new Cache({
      maxSize: CHARACTERS, sizeCalculation: (homes, account) => account.length + homes.join('').length + 1,
    })
  }

  /** Returns how long to wait before an attempt is checked, in milliseconds. */
  delayFor (tried: Attempted): number {
    const place = this.#placeOf(tried)
    return this.#delayOf(place, this.#lines.get(place.key), undefined)
  }

  /** Registers a login attempt as waiting. The caller must call `end` when the attempt is decided or given up. */
  attempt (tried: Attempted): Attempt {
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
        const isEmpty = line.trying === 0 && line.waiting.size === 0
        if (isEmpty && this.#lines.get(place.key) === line) this.#lines.delete(place.key)
      },
    }
  }

  /** Counts an attempt with wrong credentials. */
  failed (tried: Attempted): void {
    const { key, network, isKnown } = this.#placeOf(tried)
    // Counted once per account: a phone that retries an old password is not an attack on many accounts.
    if (!isKnown && this.#remembered(this.#pairs, key) === undefined) this.#add(this.#addresses, network)
    this.#add(this.#pairs, key)
  }

  /**
   * Clears the failures of this account alone. Otherwise an attacker could go on guessing by logging in to an own
   * account.
   */
  succeeded (tried: Attempted): void {
    const { account, device = '' } = tried
    const network = networkOf(tried.address)
    this.#pairs.delete(this.#placeOf(tried).key)
    const fresh = [network, ...device === '' ? [] : [clientKey(device)]]
    const homes = [...fresh, ...(this.#homes.get(account) ?? []).filter(home => !fresh.includes(home))]
    this.#homes.set(account, homes.slice(0, HOMES))
    this.#pairs.delete(this.#placeOf(tried).key)
  }

  #placeOf ({ account, address, device = '' }: Attempted): Place {
    const network = networkOf(address)
    const homes = this.#homes.get(account)
    if (device !== '' && homes?.includes(clientKey(device)) === true) {
      return { key: `${clientKey(device)} ${account}`, network, isKnown: true }
    }
    return { key: `${network} ${account}`, network, isKnown: homes?.includes(network) === true }
  }

  /** Returns the wait of an attempt. Waiting attempts go one by one in their order: repeated tries do not overtake. */
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
    // 2 ** 30 is beyond every bound: the exponent must stay finite.
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

/** The key of a client. Clients and networks share a list: no network has such a name. */
function clientKey (device: string): string { return `client ${device}` }
