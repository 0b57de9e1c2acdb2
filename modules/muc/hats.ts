/** The hats of a room, and who wears them (XEP-0317). */
import { hasForm, NS, octets, xml } from '../../lib/api.js'
import type { Element, Jid } from '../../lib/api.js'
import { createHash } from 'node:crypto'

/** A hat, as it is stored under its URI. `hue`: an angle in degrees as text, '' for none. */
export interface Hat {
  readonly title: string
  readonly hue: string
  /** The bare addresses of those who wear it. */
  readonly wearers: readonly string[]
}

/** The bounds of a room: its hats, how often they are worn together, their bytes, and the hats of one user. */
export const MOST_HATS = 100
export const MOST_ASSIGNED = 500
export const MOST_BYTES = 512 * 1024
export const MOST_WORN = 10
/** The most bytes of a hat in presence: all of a user take about as much as the presence of a device may. */
export const LARGEST_HAT = 800

/** True for a stored hat. */
export function isHat (value: unknown): boolean {
  return hasForm(value, { title: 'string', hue: 'string', wearers: 'strings' })
}

/** All hats of one room. */
export class Hats {
  readonly #byUri = new Map<string, Hat>()
  readonly #worn = new Map<string, Set<string>>()
  #assigned = 0
  #bytes = 0
  #hash: string | undefined

  /** About how many bytes of memory they take. */
  get bytes (): number { return this.#bytes }
  /** How many hats are worn: one that two users wear counts twice. */
  get assigned (): number { return this.#assigned }
  get size (): number { return this.#byUri.size }
  get all (): ReadonlyMap<string, Hat> { return this.#byUri }

  /** Makes or changes a hat; undefined removes it. */
  set (uri: string, hat: Hat | undefined): void {
    const old = this.#byUri.get(uri)
    this.#hash = undefined
    if (old !== undefined) {
      this.#bytes -= bytesOfHat(uri, old)
      this.#assigned -= old.wearers.length
      for (const who of old.wearers) this.#takeOff(who, uri)
    }
    if (hat === undefined) {
      this.#byUri.delete(uri)
      return
    }
    this.#byUri.set(uri, hat)
    this.#bytes += bytesOfHat(uri, hat)
    this.#assigned += hat.wearers.length
    for (const who of hat.wearers) this.#worn.set(who, (this.#worn.get(who) ?? new Set()).add(uri))
  }

  /** Returns the bytes that all hats would take after a change. */
  bytesWith (uri: string, hat: Hat): number {
    const old = this.#byUri.get(uri)
    return this.#bytes + bytesOfHat(uri, hat) - (old === undefined ? 0 : bytesOfHat(uri, old))
  }

  /** Returns how many hats somebody wears. */
  countOf (bare: Jid): number { return this.#worn.get(bare.toString())?.size ?? 0 }

  /** Returns the element that shows what somebody wears (§3.1); undefined if that is nothing. */
  elementFor (bare: Jid): Element | undefined {
    const uris = this.#worn.get(bare.toString())
    if (uris === undefined) return undefined
    return xml('hats', { xmlns: NS.HATS }, ...[...uris].map(uri => {
      return hatElement(uri, this.#byUri.get(uri) ?? { title: '', hue: '' })
    }))
  }

  /** A text that is another one when the list of hats has changed (§2). */
  get hash (): string {
    if (this.#hash !== undefined) return this.#hash
    const rows = [...this.#byUri].map(([uri, { title, hue }]) => JSON.stringify([uri, title, hue])).sort()
    return this.#hash = createHash('sha256').update(rows.join('\n')).digest('hex').slice(0, 40)
  }

  #takeOff (who: string, uri: string): void {
    const worn = this.#worn.get(who)
    if (worn?.delete(uri) === true && worn.size === 0) this.#worn.delete(who)
  }
}

function hatElement (uri: string, { title, hue }: Pick<Hat, 'title' | 'hue'>): Element {
  return xml('hat', { title, uri, ...hue === '' ? {} : { hue } })
}

/** Returns the bytes of a hat in presence. */
export function sizeOfHat (uri: string, hat: Pick<Hat, 'title' | 'hue'>): number { return octets(hatElement(uri, hat)).length }

/** Returns about how many bytes a hat and its wearers take. */
export function bytesOfHat (uri: string, { title, hue, wearers }: Hat): number {
  const own = 300 + 2 * (uri.length + title.length + hue.length)
  return wearers.reduce((sum, who) => sum + 200 + 2 * who.length, own)
}
