/** Divides a long list into pages (XEP-0059). */
import { attributeOf, children, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError } from './errors.js'

/** The page that is requested. Without `after`, `before` and `index` it is the first one. */
export interface Paging {
  /** The most items of the page; 0 requests only the count. The service has its own limit. */
  readonly max: number | undefined
  /** Requests the page after this item. */
  readonly after: string | undefined
  /** Requests the page before this item; '' requests the last page. */
  readonly before: string | undefined
  /** Requests the page that begins at this index, counted from 0. */
  readonly index: number | undefined
}

/** The place of a page in the list. */
export interface Page {
  /** The ids of the first and last item; undefined if the page is empty. */
  readonly first?: string | undefined
  readonly last?: string | undefined
  /** The index of the first item in the whole list, counted from 0. */
  readonly index?: number | undefined
  /** The number of items in the whole list. */
  readonly count?: number | undefined
}

/** Reads the `<set/>` of a request; undefined if there is none. Throws StanzaError bad-request if it is invalid. */
export function readPaging (payload: Element): Paging | undefined {
  const set = only(children(payload, NS.RSM, 'set'))
  if (set === undefined) return undefined
  const paging = {
    max: number(textIn(set, 'max')),
    after: textIn(set, 'after') || undefined, // §2.2: an empty element names no item, so the page is the first one
    before: textIn(set, 'before'),
    index: number(textIn(set, 'index')),
  }
  if (paging.index !== undefined && (paging.after !== undefined || paging.before !== undefined)) {
    throw new StanzaError('bad-request', 'a page cannot be requested by index and by item')
  }
  return paging
}

/** Returns the `<set/>` of a reply. An empty page has no first and last item (§2.2). */
export function pagingElement (page: Page): Element {
  const { first, last = first, index, count } = page
  return xml('set', { xmlns: NS.RSM },
    first === undefined ? undefined : xml('first', index === undefined ? {} : { index }, first),
    first === undefined ? undefined : xml('last', {}, last),
    count === undefined ? undefined : xml('count', {}, String(count)))
}

/** Returns the `<set/>` of a request. */
export function pagingRequest (paging: Partial<Paging>): Element {
  const part = (name: string, value: string | number | undefined): Element | undefined =>
    value === undefined ? undefined : xml(name, {}, String(value))
  return xml('set', { xmlns: NS.RSM },
    part('max', paging.max), part('after', paging.after), part('before', paging.before), part('index', paging.index))
}

/** Reads the `<set/>` of a reply; undefined if there is none. Throws StanzaError bad-request if it is invalid. */
export function readPage (payload: Element): Page | undefined {
  const set = only(children(payload, NS.RSM, 'set'))
  if (set === undefined) return undefined
  const first = only(children(set, NS.RSM, 'first'))
  return {
    first: first === undefined ? undefined : textOf(first),
    last: textIn(set, 'last'),
    index: first === undefined ? undefined : number(attributeOf(first, 'index')),
    count: number(textIn(set, 'count')),
  }
}

/** The largest unsignedInt of XML Schema; a larger number counts as this one. */
const LARGEST = 0xffff_ffff

function only (elements: readonly Element[]): Element | undefined {
  if (elements.length > 1) throw new StanzaError('bad-request', 'an element occurs twice')
  return elements[0]
}

function textIn (set: Element, name: string): string | undefined {
  const element = only(children(set, NS.RSM, name))
  return element === undefined ? undefined : textOf(element)
}

function number (text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const digits = text.trim()
  if (!/^\d+$/.test(digits)) throw new StanzaError('bad-request', 'not a number')
  return Math.min(Number(digits), LARGEST)
}
