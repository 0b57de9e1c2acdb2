/** XEP-0059: a long list by the page. */
import { attributeOf, children, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError } from './errors.js'

/** Which page is asked for. Where neither `after`, `before` nor `index` is there: the first. */
export interface Paging {
  /** How many at most; 0 asks for the count alone. The service has a limit of its own. */
  readonly max: number | undefined
  /** The page that follows this item. */
  readonly after: string | undefined
  /** The page that ends before this item; '' asks for the last page. */
  readonly before: string | undefined
  /** The page that starts here, counted from 0. */
  readonly index: number | undefined
}

/** Which page this is. */
export interface Page {
  /** The ids of its first and last item: both are there, or the page is empty. */
  readonly first?: string | undefined
  readonly last?: string | undefined
  /** The place of its first item among all, counted from 0. */
  readonly index?: number | undefined
  /** How many items there are in all. */
  readonly count?: number | undefined
}

/** What the `<set/>` in this payload asks for; undefined where there is none. Throws StanzaError bad-request for nonsense. */
export function readPaging (payload: Element): Paging | undefined {
  const set = only(children(payload, NS.RSM, 'set'))
  if (set === undefined) return undefined
  const paging = {
    max: number(textIn(set, 'max')),
    after: textIn(set, 'after') || undefined, // §2.2: no item, and so from the first on
    before: textIn(set, 'before'),
    index: number(textIn(set, 'index')),
  }
  if (paging.index !== undefined && (paging.after !== undefined || paging.before !== undefined)) {
    throw new StanzaError('bad-request', 'a page by its index and by an item')
  }
  return paging
}

/** The `<set/>` of an answer. An empty page has no first and last item (§2.2). */
export function pagingElement (page: Page): Element {
  const { first, last = first, index, count } = page
  return xml('set', { xmlns: NS.RSM },
    first === undefined ? undefined : xml('first', index === undefined ? {} : { index }, first),
    first === undefined ? undefined : xml('last', {}, last),
    count === undefined ? undefined : xml('count', {}, String(count)))
}

/** The `<set/>` of a request. */
export function pagingRequest (paging: Partial<Paging>): Element {
  const part = (name: string, value: string | number | undefined): Element | undefined =>
    value === undefined ? undefined : xml(name, {}, String(value))
  return xml('set', { xmlns: NS.RSM },
    part('max', paging.max), part('after', paging.after), part('before', paging.before), part('index', paging.index))
}

/** What page an answer is; undefined where it does not say. Throws StanzaError bad-request for nonsense. */
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

/** XML Schema's unsignedInt; larger than that is as good as all. */
const LARGEST = 0xffff_ffff

function only (elements: readonly Element[]): Element | undefined {
  if (elements.length > 1) throw new StanzaError('bad-request', 'said twice')
  return elements[0]
}

function textIn (set: Element, name: string): string | undefined {
  const element = only(children(set, NS.RSM, name))
  return element === undefined ? undefined : textOf(element)
}

function number (text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const digits = text.trim()
  if (!/^\d+$/.test(digits)) throw new StanzaError('bad-request', 'no number')
  return Math.min(Number(digits), LARGEST)
}
