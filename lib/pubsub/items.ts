/** The items of nodes as they are stored: one journal for each node, in the order of publication (XEP-0060 §12.1). */
import { createHash } from 'node:crypto'
import { hasForm } from '../storage/shape.js'
import {
  journal, readEntries, UnknownEntry, type Entry, type Journal, type JournalPage, type Shape, type Write,
} from '../storage/store.js'
import { namespaceOf, type Element } from '../xml/element.js'
import { parseElement } from '../xml/parse-element.js'
import { CheckedTexts } from '../xml/stored-texts.js'
import { flatten, fromOctets, octets, toOctets } from '../xml/writer.js'
import { StanzaError } from '../xmpp/errors.js'
import type { Paging } from '../xmpp/paging.js'
import type { Node } from './node.js'

/** The element in an item: its name and namespace, and its text as it is written into a stream. */
export interface Payload { readonly name: string, readonly namespace: string, readonly text: string }

/** The bytes of payloads that are parsed without a pause: a few milliseconds of work. */
export const TO_PARSE = 256 * 1024

/** An item as it is stored. */
export interface StoredItem {
  readonly id: string
  /** The bare address of the publisher. */
  readonly publisher: string
  readonly payload?: Payload
}

/** A published item. */
export interface Item extends StoredItem {
  /** When it was published, in milliseconds since 1970. */
  readonly at: number
}

/** The shape of the store of items. An item that cannot be read is put aside. */
export const itemShape: Shape<Journal<StoredItem>> = journal<StoredItem>(1, undefined, { check: isStoredItem })

function isStoredItem (value: unknown): boolean {
  return hasForm(value, { id: 'string', publisher: 'string', payload: 'object?' }) &&
    (value['payload'] === undefined || hasForm(value['payload'], { name: 'string', namespace: 'string', text: 'string' }))
}

/** The items that a node holds, by number and bytes. */
export interface Size { readonly items: number, readonly bytes: number }

/** Some items of a node. `isComplete`: nothing more follows in the direction of the request. */
export interface ItemPage { readonly items: readonly Item[], readonly isComplete: boolean }

/** Selects items: the newest, or those of a page. `since`: those published since then, in milliseconds since 1970. */
export interface ItemQuery {
  readonly limit: number
  readonly bytes: number
  readonly newest?: boolean
  readonly paging?: Paging | undefined
  readonly since: number | undefined
}

/** Selects items by time, in milliseconds since 1970, and by the ids that they come after and before. */
export interface ItemFilter {
  readonly since?: number
  readonly until?: number
  readonly after: readonly string[]
  readonly before: readonly string[]
}

/** The store of items, for all nodes. `owner` is the address of the service as text. */
export class ItemStore {
  readonly #journal: Journal<StoredItem>

  constructor (store: Journal<StoredItem>) { this.#journal = store }

  appending (owner: string, node: Node, { at, ...value }: Item): Write {
    return this.#journal.appending(placeOf(owner, node), { id: keyOf(value.id), at, with: '', value })
  }

  removing (owner: string, node: Node, ids: readonly string[]): Write {
    return this.#journal.removing(placeOf(owner, node), ids.map(keyOf))
  }

  clearing (owner: string, node: Node): Write { return this.#journal.clearing(placeOf(owner, node)) }

  async size (owner: string, node: Node): Promise<Size> {
    const { entries, bytes } = await this.#journal.size(placeOf(owner, node))
    return { items: entries, bytes }
  }

  /** Returns the number of items that were published since then. */
  async count (owner: string, node: Node, since: number): Promise<number> {
    return await this.#journal.count(placeOf(owner, node), { since })
  }

  /** Returns the items with these ids that exist, in the order of publication. */
  async byId (
    owner: string, node: Node, ids: readonly string[], how: { readonly bytes?: number } = {},
  ): Promise<ItemPage> {
    const place = placeOf(owner, node)
    return this.#items(place, await this.#journal.page(place, { ids: ids.map(keyOf), limit: ids.length, ...how }))
  }

  /** Returns some items, the oldest first. Throws item-not-found if the item at which the page begins is missing. */
  async some (owner: string, node: Node, { limit, bytes, newest, paging, since }: ItemQuery): Promise<ItemPage> {
    const place = placeOf(owner, node)
    const { after, before } = paging ?? {}
    return await knownIds(async () => this.#items(place, await this.#journal.page(place, {
      limit,
      bytes,
      ...since === undefined ? {} : { since },
      ...newest === true || before !== undefined ? { last: true } : {},
      ...after === undefined ? {} : { after: keyOf(after) },
      ...before === undefined || before === '' ? {} : { before: keyOf(before) },
    })))
  }

  /** Returns the first or last matching items, the oldest first. Throws item-not-found if an id is missing. */
  async matching (
    owner: string, node: Node,
    { limit, bytes, last, ...filter }: ItemFilter & Pick<ItemQuery, 'limit' | 'bytes'> & { readonly last: boolean },
  ): Promise<ItemPage> {
    const place = placeOf(owner, node)
    return await knownIds(async () =>
      this.#items(place, await this.#journal.page(place, { ...keyed(filter), limit, bytes, last })))
  }

  /** Returns the number of matching items. Throws as `matching`. */
  async countOf (owner: string, node: Node, filter: ItemFilter): Promise<number> {
    return await knownIds(async () => await this.#journal.count(placeOf(owner, node), keyed(filter)))
  }

  /** Returns items that were published before a time, in milliseconds since 1970; at most `limit`. */
  async before (owner: string, node: Node, time: number, limit: number): Promise<readonly Item[]> {
    const place = placeOf(owner, node)
    return this.#items(place, await this.#journal.page(place, { until: time - 1, limit })).items
  }

  #items (place: string, { entries, complete }: JournalPage<StoredItem>): ItemPage {
    return { items: readEntries(this.#journal, place, entries, itemOf), isComplete: complete }
  }
}

function itemOf ({ at, value }: Entry<StoredItem>): Item { return { ...value, at } }

function keyed (filter: ItemFilter): ItemFilter {
  return { ...filter, after: filter.after.map(keyOf), before: filter.before.map(keyOf) }
}

/** Reads something; an item that is named and missing is item-not-found. */
async function knownIds<T> (read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof UnknownEntry) throw new StanzaError('item-not-found')
    throw error
  }
}

/** Returns the owner of a node's items. Addresses contain no space, and a key no other node ever has. */
function placeOf (owner: string, { key }: Node): string { return `${owner} ${key}` }

/** The ids of items may be long, and those of entries are keys of an index. */
function keyOf (id: string): string { return createHash('sha256').update(id).digest('base64url') }

/** Returns the payload with this element. Throws TypeError if XML cannot carry it. */
export function payloadOf (element: Element): Payload {
  return { name: flatten(element.name), namespace: flatten(namespaceOf(element) ?? ''), text: fromOctets(octets(element)) }
}

/** Returns the bytes that a payload counts for; 0 for none. */
export function bytesOfPayload (payload: Payload | undefined): number {
  return payload === undefined ? 0 : Buffer.byteLength(payload.text)
}

/** Returns the element of a payload, to be read. Throws XmlError if it cannot be parsed. */
export function parsedPayload ({ text }: Payload): Element { return parseElement(toOctets(text)) }

const texts = new CheckedTexts()

/** Returns the element of a payload, to be sent as it is. Throws XmlError if it is not one element. */
export function storedPayload ({ name, namespace, text }: Payload): Element {
  return texts.element(name, namespace, text)
}
