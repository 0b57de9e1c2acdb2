/**
 * The bodies of broadcasts: each is in memory once, and on the disk once, for all devices of a host that have not
 * acknowledged it.
 */
import { fromOctets, hasForm, isElementText, isLasting, isText, toOctets } from '../../lib/api.js'
import type { Batch, Broadcast, Entry, Journal, StanzaFrame } from '../../lib/api.js'

/**
 * A reference on the disk: the id of a managed session, the number of the stanza in its outgoing order, and the
 * session's `numbering` then.
 */
export type Reference = readonly [session: string, seq: number, numbering: number]

/**
 * A broadcast on the disk: its octets as text around the `to`, and the sessions that had a place for it. A reference is
 * over when its session has ended, has acknowledged the number, or has numbered its stanzas anew, which gives them rows
 * of their own. The row goes when no session needs the body.
 */
export interface StoredBroadcast { readonly head: string, readonly tail: string, readonly to: readonly Reference[] }

/** True if a stored value is a broadcast. */
export function isStoredBroadcast (value: unknown): boolean {
  if (!hasForm(value, { head: 'string', tail: 'string' })) return false
  const { head, tail, to } = value
  return isText(head) && isText(tail) && head.startsWith('<message ') && isElementText(`${head} to=""${tail}`) && Array.isArray(to) && to.every(isReference)
}

function isReference (value: unknown): boolean {
  return Array.isArray(value) && value.length === 3 && isText(value[0]) &&
    typeof value[1] === 'number' && typeof value[2] === 'number'
}

/** One body. */
export class SharedBody {
  /** The id of its row. */
  readonly id: string
  /** When it was sent, in milliseconds since 1970. */
  readonly at: number
  readonly frame: StanzaFrame
  /** True if a crash must not lose it. */
  readonly isLasting: boolean
  /** How many stanzas in memory refer to it. */
  holders = 0
  /** How many references in its row are not over. */
  pins = 0

  constructor (id: string, at: number, frame: StanzaFrame, isLasting: boolean) {
    this.id = id
    this.at = at
    this.frame = frame
    this.isLasting = isLasting
  }

  /** Returns a body as it was stored. */
  static restored ({ id, at, value: { head, tail } }: Entry<StoredBroadcast>): SharedBody {
    return new SharedBody(id, at, { head: toOctets(head), tail: toOctets(tail) }, true)
  }

  get bytes (): number { return this.frame.head.length + this.frame.tail.length }
}

/** The world of SharedBodies: a host and its store. */
export interface SharedBodiesHome {
  readonly domain: string
  readonly store: Journal<StoredBroadcast>
  now (): number
  id (): string
}

/** Makes the bodies of the broadcasts of one host, and writes them. */
export class SharedBodies {
  readonly #home: SharedBodiesHome
  readonly #bodies = new WeakMap<Broadcast, SharedBody>()
  /** The references of bodies whose row is not written yet. */
  readonly #references = new WeakMap<SharedBody, Reference[]>()

  constructor (home: SharedBodiesHome) { this.#home = home }

  /** Returns the body of a broadcast. */
  of (broadcast: Broadcast): SharedBody {
    const known = this.#bodies.get(broadcast)
    if (known !== undefined) return known
    const { stanza, frame } = broadcast
    const body = new SharedBody(this.#home.id(), this.#home.now(), frame, isLasting(stanza))
    this.#bodies.set(broadcast, body)
    return body
  }

  /** Adds a reference to the body's row, which the batch stores with all that are added until it is submitted. */
  pin (body: SharedBody, reference: Reference, batch: Batch): void {
    body.pins++
    const known = this.#references.get(body)
    if (known !== undefined) {
      known.push(reference)
      return
    }
    const to = [reference]
    this.#references.set(body, to)
    const { domain, store } = this.#home
    batch.submitting(() => {
      this.#references.delete(body)
      const { head, tail } = body.frame
      const value = { head: fromOctets(head), tail: fromOctets(tail), to }
      batch.add(store.appending(domain, { id: body.id, at: body.at, with: domain, value }))
    })
  }
}
