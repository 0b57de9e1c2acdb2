/** Archive queries (XEP-0313 §4) and the pages that answer them. */
import {
  addressed, children, DataForm, field, formatDateTime, formIn, has, HOLE,
  LARGEST_ANSWER, NS, parseDateTime, readForm, readPaging, Stanza, StanzaError, storedHole, Template, UnknownEntry, xml,
} from '../../lib/api.js'
import type { Addressed, Element, Entry, Jid, Journal, JournalFilter, Paging } from '../../lib/api.js'

const WITH = field.jid('with')
const START = field.text('start')
const END = field.text('end')
const BEFORE_ID = field.text('before-id')
const AFTER_ID = field.text('after-id')
const GROUPCHAT = field.flag('include-groupchat')
/** Full-text search (XEP-0431). */
const FULLTEXT = field.text(`{${NS.FULLTEXT}}fulltext`)
const IDS = 'ids'
/** The fields of a query. `ids` is handled apart: it is an open list (XEP-0122). */
const FORM = new DataForm(NS.MAM, [WITH, START, END, BEFORE_ID, AFTER_ID, GROUPCHAT, FULLTEXT])
/** The most messages that can be requested by id. */
const MOST_IDS = 500

/** An account's stored messages. */
export type Archive = Journal<string>

/** The messages that a query selects, whatever the page. */
export interface Filter {
  readonly with: Jid | undefined
  /** Milliseconds since 1970, inclusive. */
  readonly since: number | undefined
  readonly until: number | undefined
  readonly before: string | undefined
  readonly after: string | undefined
  readonly ids: readonly string[] | undefined
  /** The words of a full-text search. */
  readonly text: string | undefined
}

const EVERYTHING: Filter = {
  with: undefined, since: undefined, until: undefined,
  before: undefined, after: undefined, ids: undefined, text: undefined,
}

/** A query as the client sent it; `isFlipped`: the page is sent in reverse order. */
export interface Query { readonly filter: Filter, readonly paging: Paging | undefined, readonly isFlipped: boolean }

/** Returns the form with the supported fields (§4.1.5). */
export function queryForm (): Element {
  const form = FORM.form()
  form.append(xml('field', { var: IDS, type: 'list-multi' },
    xml('validate', { xmlns: NS.DATA_VALIDATE, datatype: 'xs:string' }, xml('open'))))
  return xml('query', { xmlns: NS.MAM }, form)
}

/** Reads a query. Throws StanzaError: bad-request, not-acceptable, or feature-not-implemented for unknown fields. */
export function readQuery (payload: Element): Query {
  return { filter: readFilter(formIn(payload)), paging: readPaging(payload), isFlipped: has(payload, NS.MAM, 'flip-page') }
}

function readFilter (element: Element | undefined): Filter {
  if (element === undefined) return EVERYTHING
  const raw = readForm(element)
  const ids = raw.fields.get(IDS)?.values
  if (ids !== undefined && ids.length > MOST_IDS) throw new StanzaError('bad-request', 'too many ids')
  const answers = FORM.read(withoutIds(element), { unknown: 'refused' })
  const moment = (text: string | undefined): number | undefined => text === undefined ? undefined : parseDateTime(text)
  return {
    with: answers.get(WITH),
    since: moment(answers.get(START)),
    until: moment(answers.get(END)),
    before: answers.get(BEFORE_ID),
    after: answers.get(AFTER_ID),
    ids,
    text: answers.get(FULLTEXT)?.trim() || undefined, // §3.1: an empty text counts as none
  }
}

function withoutIds (form: Element): Element {
  const others = children(form, NS.DATA, 'field').filter(one => one.attrs['var'] !== IDS)
  return xml('x', { ...form.attrs, xmlns: NS.DATA }, ...others)
}

/**
 * One page, its entries in order. `index`: the index of its first entry, if the query asked by index. `count`: the
 * number of matches, if the query asked by index or only for the count.
 */
export interface Found {
  readonly entries: readonly Entry<string>[]
  readonly complete: boolean
  readonly index: number | undefined
  readonly count: number | undefined
}

/** Reads a page of at most `most` entries. Throws StanzaError item-not-found for an unknown id (§4.1.3, §4.3). */
export async function find (archive: Archive, owner: string, { filter, paging }: Query, most: number): Promise<Found> {
  const limit = Math.min(paging?.max ?? most, most)
  try {
    if (filter.ids !== undefined) await checkIds(archive, owner, filter.ids)
    const wanted = selectionOf(filter, paging)
    // XEP-0059 §2.6: the query asks only for the count.
    if (limit === 0) {
      const count = await archive.count(owner, wanted)
      return { entries: [], complete: count === 0, index: undefined, count }
    }
    // XEP-0059 §2.3: with `<before/>`, the page is the last one before that id.
    const { index } = paging ?? {}
    const wish = {
      ...wanted, last: paging?.before !== undefined, limit, bytes: LARGEST_ANSWER,
      ...index === undefined ? {} : { index },
    }
    const { entries, complete } = await archive.page(owner, wish)
    // XEP-0059 §2.6: a page by index says the index of its first item; the count shows that such pages are supported.
    return { entries, complete, index, count: index === undefined ? undefined : await archive.count(owner, wanted) }
  } catch (error) {
    if (error instanceof UnknownEntry) throw new StanzaError('item-not-found', undefined, { cause: error })
    throw error
  }
}

/** Returns the storage query for a filter and the place of a page. */
function selectionOf (filter: Filter, paging: Paging | undefined): JournalFilter {
  return {
    ...filter.with === undefined ? {} : { with: filter.with.toString() },
    ...filter.since === undefined ? {} : { since: filter.since },
    ...filter.until === undefined ? {} : { until: filter.until },
    ...filter.ids === undefined ? {} : { ids: filter.ids },
    ...filter.text === undefined ? {} : { text: filter.text },
    after: present(filter.after, paging?.after),
    before: present(filter.before, paging?.before === '' ? undefined : paging?.before),
  }
}

function present (...ids: readonly (string | undefined)[]): readonly string[] {
  return ids.filter(id => id !== undefined)
}

async function checkIds (archive: Archive, owner: string, ids: readonly string[]): Promise<void> {
  const wanted = [...new Set(ids)]
  const { entries } = await archive.page(owner, { ids: wanted, limit: wanted.length })
  if (entries.length < wanted.length) throw new UnknownEntry('one of the ids is unknown')
}

/** Yields the stanzas of a page of results (§4.2), each when it is about to be sent. */
export function * resultStanzas (
  entries: readonly Entry<string>[], account: Jid, to: Jid, queryId: string | undefined,
): Generator<Addressed<'message'>> {
  const empty = new Stanza('message', xml('message'), account, to)
  for (const entry of entries) yield addressed(empty.with({ plus: [resultOf(entry, queryId)] }), to)
}

const FORWARDED = xml('forwarded', { xmlns: NS.FORWARD }, xml('delay', { xmlns: NS.DELAY, stamp: HOLE }), storedHole())
const RESULT = new Template(xml('result', { xmlns: NS.MAM, id: HOLE }, FORWARDED), NS.MAM)
const RESULT_OF_QUERY = new Template(xml('result', { xmlns: NS.MAM, queryid: HOLE, id: HOLE }, FORWARDED), NS.MAM)

/** Builds a result. The stored message is written as it is, without being parsed. */
export function resultOf ({ id, at, value }: Entry<string>, queryid?: string): Element {
  const stamp = formatDateTime(at, { milliseconds: true })
  return queryid === undefined ? RESULT.fill([id, stamp], 'message', value) : RESULT_OF_QUERY.fill([queryid, id, stamp], 'message', value)
}
