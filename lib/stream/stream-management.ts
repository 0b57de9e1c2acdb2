/** XEP-0198 without a stream: counters modulo 2³², its elements, and what waits to be acknowledged. For clients' streams and servers'. */
import { attributeOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StreamError, type StanzaCondition } from '../xmpp/errors.js'

/** §4: a count is an xs:unsignedInt, and 0 follows on its highest value. */
const WRAP = 2 ** 32

/** The count behind this one by `by`, or before it. */
export function counted (count: number, by = 1): number {
  return ((count + by) % WRAP + WRAP) % WRAP
}

/** How far it is from one count on to another: 0 to 2³² - 1. */
export function distance (from: number, to: number): number { return counted(to, -from) }

/** The `h` of `<a/>`, `<resume/>` and `<resumed/>`; undefined where there is none that is a count. */
export function countIn (element: Element): number | undefined {
  const text = attributeOf(element, 'h')?.trim()
  if (text === undefined || !/^\+?\d{1,32}$/.test(text)) return undefined
  const count = Number(text)
  return count < WRAP ? count : undefined
}

/** An xs:boolean attribute; false where it is not there. */
export function isTrue (element: Element, name: string): boolean {
  const text = attributeOf(element, name)?.trim()
  return text === 'true' || text === '1'
}

/** The seconds that `<enable max=''/>` asks for; undefined where it does not say. */
export function secondsIn (element: Element): number | undefined {
  const text = attributeOf(element, 'max')?.trim()
  return text !== undefined && /^\+?\d{1,32}$/.test(text) && Number(text) > 0 ? Number(text) : undefined
}

/** `<r/>` as octets. */
export const REQUEST = `<r xmlns="${NS.SM}"/>`
/** `<a/>` as octets. */
export function answer (h: number): string { return `<a xmlns="${NS.SM}" h="${h}"/>` }

/** §5, §6: `<failed/>` with its condition; `h` where the former stream is still known. */
export function failed (condition: StanzaCondition, h?: number): Element {
  return xml('failed', { xmlns: NS.SM, h }, xml(condition, { xmlns: NS.STANZAS }))
}

/** §6: who acknowledges what was never sent has counted wrong, and the two cannot go on together. */
export function tooHigh (h: number, sent: number): StreamError {
  return new StreamError('undefined-condition', `You acknowledged ${h} stanzas, but I only sent you ${sent} so far.`, {
    plus: xml('handled-count-too-high', { xmlns: NS.SM, h, 'send-count': sent }),
  })
}

/** What waits to be acknowledged knows its size. */
export interface Sized { readonly octets: string }

/** What was sent and is not acknowledged, in order. Its owner keeps it bounded, by `length` and `bytes`. */
export class Unacknowledged<T extends Sized> {
  #items: T[] = []
  #head = 0
  #acknowledged: number
  #bytes = 0

  /** `acknowledged`: how many were, when it is taken up again. */
  constructor (acknowledged = 0) { this.#acknowledged = counted(acknowledged, 0) }

  get length (): number { return this.#items.length - this.#head }
  get bytes (): number { return this.#bytes }
  /** The peer has handled so many. */
  get acknowledged (): number { return this.#acknowledged }
  /** So many have been sent. */
  get sent (): number { return counted(this.#acknowledged, this.length) }

  /** The one that was sent last, as long as it waits. */
  get last (): T | undefined { return this.#items.at(-1) }

  /** The one at this place, counted from the first that waits. */
  at (place: number): T | undefined { return this.#items[this.#head + place] }

  /** One more was sent. */
  push (item: T): void {
    this.#items.push(item)
    this.#bytes += item.octets.length
  }

  /** The peer has handled the first `h`: those it had not before. undefined: `h` is more than was sent, or less than it said before. */
  acknowledge (h: number): readonly T[] | undefined {
    const count = distance(this.#acknowledged, h)
    if (count > this.length) return undefined
    if (count === 0) return []
    const handled = this.#items.slice(this.#head, this.#head += count)
    for (const item of handled) this.#bytes -= item.octets.length
    if (this.#head > 64 && this.#head * 2 > this.#items.length || this.#head === this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    this.#acknowledged = h
    return handled
  }

  /** Whether `acknowledge` would take it. */
  covers (h: number): boolean { return distance(this.#acknowledged, h) <= this.length }

  /** All there is, the oldest first. */
  all (): readonly T[] { return this.#items.slice(this.#head) }

  /** The same, and nothing is left. */
  take (): readonly T[] {
    const all = this.all()
    this.#items = []
    this.#head = 0
    this.#bytes = 0
    return all
  }
}
