/** What a client asks of an archive (XEP-0313 §4), and the pages that it gets. */
import {
  checkedPage, checkElement, children, DataForm, Element, field, formatDateTime, formIn, has, LARGEST_ANSWER, NS, parseDateTime,
  readForm, readPaging, Stanza, StanzaError, StoredElement, toOctets, UnknownEntry, xml,
} from '../../lib/api.js'
import type { Entry, Jid, Journal, Paging } from '../../lib/api.js'

const WITH = field.jid('with')
const START = field.text('start')
const END = field.text('end')
const BEFORE_ID = field.text('before-id')
const AFTER_ID = field.text('after-id')
const GROUPCHAT = field.flag('include-groupchat')
/** XEP-0431 */
const FULLTEXT = field.text(`{${NS.FULLTEXT}}fulltext`)
const IDS = 'ids'
/** The fields that may be asked for. `ids` stands apart: it is a list that is open (XEP-0122). */
const FORM = new DataForm(NS.MAM, [WITH, START, END, BEFORE_ID, AFTER_ID, GROUPCHAT, FULLTEXT])
/** How many messages may be asked for by their ids. */
const MOST_IDS = 500

export type Archive = Journal<string>

/** What is wanted, whatever page of it. */
export interface Filter {
  readonly with: Jid | undefined
  /** Milliseconds since 1970, inclusive. */
  readonly since: number | undefined
  readonly until: number | undefined
  readonly before: string | undefined
  readonly after: string | undefined
  readonly ids: readonly string[] | undefined
  /** Words to be found. */
  readonly text: string | undefined
}

const EVERYTHING: Filter = {
  with: undefined, since: undefined, until: undefined, before: undefined, after: undefined, ids: undefined, text: undefined,
}

export interface Query { readonly filter: Filter, readonly paging: Paging | undefined, readonly isFlipped: boolean }

/** §4.1.5: the form of what can be asked for. */
export function queryForm (): Element {
  const form = FORM.form()
  form.append(xml('field', { var: IDS, type: 'list-multi' },
    xml('validate', { xmlns: NS.DATA_VALIDATE, datatype: 'xs:string' }, xml('open'))))
  return xml('query', { xmlns: NS.MAM }, form)
}

/** Throws StanzaError: bad-request, not-acceptable, feature-not-implemented for fields that nobody knows. */
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
    text: answers.get(FULLTEXT)?.trim() || undefined, // §3.1: an empty one is none
  }
}

function withoutIds (form: Element): Element {
  const copy = new Element('x', { ...form.attrs, xmlns: NS.DATA })
  for (const one of children(form, NS.DATA, 'field')) if (one.attrs['var'] !== IDS) copy.append(one)
  return copy
}

/** One page, its entries in order. `count`: how many match in all, where only that was asked for. */
export interface Found { readonly entries: readonly Entry<string>[], readonly complete: boolean, readonly count: number | undefined }

/** Throws StanzaError item-not-found for an id that is not there (§4.1.3, §4.3). `most`: entries on a page. */
export async function find (archive: Archive, owner: string, { filter, paging }: Query, most: number): Promise<Found> {
  const limit = Math.min(paging?.max ?? most, most)
  if (paging?.index !== undefined) throw new StanzaError('feature-not-implemented', 'no pages by index')
  try {
    if (filter.ids !== undefined) await checkIds(archive, owner, filter.ids)
    const wanted = {
      ...filter.with === undefined ? {} : { with: filter.with.toString() },
      ...filter.since === undefined ? {} : { since: filter.since },
      ...filter.until === undefined ? {} : { until: filter.until },
      ...filter.ids === undefined ? {} : { ids: filter.ids },
      ...filter.text === undefined ? {} : { text: filter.text },
      after: present(filter.after, paging?.after),
      before: present(filter.before, paging?.before === '' ? undefined : paging?.before),
    }
    // XEP-0059 §2.6: nothing but how many there are.
    if (limit === 0) {
      const count = await archive.count(owner, wanted)
      return { entries: [], complete: count === 0, count }
    }
    // XEP-0059 §2.3: a page before something is the one right before it.
    const wish = { ...wanted, last: paging?.before !== undefined, limit, bytes: LARGEST_ANSWER }
    const { entries, complete } = await checkedPage(archive, owner, () => archive.page(owner, wish), checkEntry)
    return { entries, complete, count: undefined }
  } catch (error) {
    if (error instanceof UnknownEntry) throw new StanzaError('item-not-found', undefined, { cause: error })
    throw error
  }
}

function present (...ids: readonly (string | undefined)[]): readonly string[] {
  return ids.filter(id => id !== undefined)
}

async function checkIds (archive: Archive, owner: string, ids: readonly string[]): Promise<void> {
  const wanted = [...new Set(ids)]
  const { entries } = await archive.page(owner, { ids: wanted, limit: wanted.length })
  if (entries.length < wanted.length) throw new UnknownEntry('one of the ids is not there')
}

/** Whether an archived message can be sent as it stands. Throws if it cannot. */
export function checkEntry ({ value }: Entry<string>): void { checkElement(toOctets(value)) }

/** §4.2: one result as it goes out. */
export function resultStanza (entry: Entry<string>, account: Jid, to: Jid, queryId: string | undefined): Stanza {
  const element = new Element('message', {})
  element.children.push(resultOf(entry, queryId))
  return new Stanza('message', element, account, to)
}

/** A result with its message: what is stored is written as it is, and not read again. */
export function resultOf ({ id, at, value }: Entry<string>, queryid?: string): Element {
  return xml('result', { xmlns: NS.MAM, queryid, id },
    xml('forwarded', { xmlns: NS.FORWARD },
      xml('delay', { xmlns: NS.DELAY, stamp: formatDateTime(at, { milliseconds: true }) }),
      new StoredElement('message', NS.CLIENT, value)))
}
