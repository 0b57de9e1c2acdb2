/**
 * The requests of one BOSH session: their order, repeats of those whose response was lost, and how many may be open
 * (XEP-0124 §11, §14). Knows neither HTTP nor time.
 */
import type { Head } from './head.js'

/** A request with its content, and the way to answer it. */
export interface Asked {
  readonly head: Head
  readonly body: Uint8Array
  /** When it came, in milliseconds since 1970. */
  readonly at: number
  /** True if its connection is lost: a response would not arrive. */
  readonly isGone: boolean
  /** Sends the response. Called once. */
  answer (body: string): void
}

/**
 * The fate of a request:
 * - 'taken': it waits for its turn, or is held.
 * - 'repeat': its response was lost, and is sent again.
 * - 'replaces': it takes the place of one that has no response yet.
 * - 'refused': the session ends with this condition (XEP-0124 §17.2).
 */
export type Verdict =
  | { readonly go: 'taken' }
  | { readonly go: 'repeat', readonly response: string }
  | { readonly go: 'replaces', readonly former: Asked }
  | { readonly go: 'refused', readonly condition: 'item-not-found' | 'policy-violation' }

/** How often a request may be repeated while the one before is there and has no response. */
const MOST_REPEATS = 5

export class RequestWindow {
  /** The most open requests, which is the size of the window. */
  readonly size: number
  /** The most responses that are kept to be sent again. */
  readonly #keeps: number
  /** The rid of the next request in order. */
  #next: number
  /** Requests that have come before their turn. */
  readonly #early = new Map<number, Asked>()
  /** Requests that were handed over and have no response, in order. */
  readonly #held: Asked[] = []
  /** The last responses, in order. */
  readonly #kept: { readonly rid: number, readonly response: string, readonly at: number }[] = []
  readonly #repeats = new Map<number, number>()

  constructor (first: number, size: number, keeps = size + 1) {
    this.#next = first
    this.size = size
    this.#keeps = keeps
  }

  /** The highest rid up to which all requests have come. */
  get received (): number {
    let rid = this.#next - 1
    while (this.#early.has(rid + 1)) rid++
    return rid
  }

  /** The number of requests that were handed over and wait for a response. */
  get held (): number { return this.#held.length }
  /** The number of all requests without a response. */
  get open (): number { return this.#held.length + this.#early.size }
  /** The rid of the oldest request that is held; undefined if none is. */
  get oldest (): number | undefined { return this.#held[0]?.head.rid }
  /** When it came. */
  get oldestAt (): number | undefined { return this.#held[0]?.at }
  /** True if its response would not arrive. The client repeats it. */
  get isOldestGone (): boolean { return this.#held[0]?.isGone === true }
  /** True if a request without a response still has its connection. */
  get hasLive (): boolean { return [...this.#held, ...this.#early.values()].some(({ isGone }) => !isGone) }

  take (asked: Asked): Verdict {
    const { rid, pause, isTerminate } = asked.head
    if (rid < this.#next) return this.#again(asked)
    // §11: one request more than the window is allowed if it pauses or ends the session
    const most = this.size + (pause !== undefined || isTerminate ? 1 : 0)
    if (rid >= this.#next + most) return { go: 'refused', condition: 'item-not-found' }
    const former = this.#early.get(rid)
    if (former === undefined && this.open >= most) return { go: 'refused', condition: 'policy-violation' }
    this.#early.set(rid, asked)
    return former === undefined ? { go: 'taken' } : this.#replaced(rid, former)
  }

  /** Hands over the next request in order, which is held from then on; undefined if it has not come. */
  next (): Asked | undefined {
    const asked = this.#early.get(this.#next)
    if (asked === undefined) return undefined
    this.#early.delete(this.#next++)
    this.#held.push(asked)
    return asked
  }

  /** Answers the oldest request that is held. `at`: the time, in milliseconds. */
  respond (response: string, at: number): void {
    const asked = this.#held.shift()
    if (asked === undefined) throw new Error('no request is held')
    const { rid } = asked.head
    this.#repeats.delete(rid)
    this.#kept.push({ rid, response, at })
    if (this.#kept.length > this.#keeps) this.#kept.shift()
    asked.answer(response)
  }

  /** §9.2: the client has all responses up to this one. */
  acknowledge (ack: number): void {
    // The last one is kept: a client may repeat a request although it has its response.
    while (this.#kept.length > 1 && (this.#kept[0]?.rid ?? Infinity) < ack) this.#kept.shift()
  }

  /** When the response to a request was sent; undefined if it is not kept. */
  sentAt (rid: number): number | undefined { return this.#kept.find(kept => kept.rid === rid)?.at }

  /** Removes all requests without a response, and returns them: those that are held first. */
  abandon (): readonly Asked[] {
    const early = [...this.#early].sort(([a], [b]) => a - b).map(([, asked]) => asked)
    this.#early.clear()
    return [...this.#held.splice(0), ...early]
  }

  /** §14.3: a request that has come before. */
  #again (asked: Asked): Verdict {
    const { rid } = asked.head
    const index = this.#held.findIndex(({ head }) => head.rid === rid)
    const former = this.#held[index]
    if (former !== undefined) {
      this.#held[index] = asked
      return this.#replaced(rid, former)
    }
    const kept = this.#kept.find(kept => kept.rid === rid)
    if (kept === undefined) return { go: 'refused', condition: 'item-not-found' }
    return { go: 'repeat', response: kept.response }
  }

  #replaced (rid: number, former: Asked): Verdict {
    if (former.isGone) return { go: 'replaces', former }
    const repeats = (this.#repeats.get(rid) ?? 0) + 1
    this.#repeats.set(rid, repeats)
    if (repeats > MOST_REPEATS) return { go: 'refused', condition: 'policy-violation' }
    return { go: 'replaces', former }
  }
}
