/** The items of a node as an archive of its notifications (XEP-0442, XEP-0313 §4). */
import { service } from '../base/slot.js'
import { costOfBytes, costOfRows } from '../host/cost.js'
import type { Request } from '../host/iq.js'
import type { Outlet } from '../host/outlet.js'
import { LARGEST_ANSWER } from '../stream/bounds.js'
import { attributeOf, has, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { formatDateTime, parseDateTime } from '../xmpp/datetime.js'
import { StanzaError } from '../xmpp/errors.js'
import { DataForm, field, formIn } from '../xmpp/form.js'
import type { Jid } from '../xmpp/jid.js'
import { pagingElement, readPaging, type Paging } from '../xmpp/paging.js'
import { addressed, Stanza, type Addressed } from '../xmpp/stanza.js'
import { keepsItems } from './config.js'
import type { PubSubEngine } from './engine.js'
import { unsupported } from './errors.js'
import { bytesOfPayload, storedPayload, type Item, type ItemFilter } from './items.js'
import type { Node } from './node.js'
import { fitting, itemsWith, sinceOf, type Reading } from './retrieving.js'

const START = field.text('start')
const END = field.text('end')
const BEFORE_ID = field.text('before-id')
const AFTER_ID = field.text('after-id')
const FORM = new DataForm(NS.MAM, [START, END, BEFORE_ID, AFTER_ID])

/** The most items of a page. */
const MOST = 250
/** The most characters of a `queryid`. */
const LONGEST_QUERY_ID = 1024

/** Returns the form of a query (XEP-0313 §4.1.5). */
export function archiveForm (): Element { return xml('query', { xmlns: NS.MAM }, FORM.form()) }

/** Answers queries for the items of accounts' nodes, which come with those for the archives of messages. */
export interface NodeArchives { query (request: Request): Promise<Element> }
export const nodeArchives = service<NodeArchives>('nodeArchives')

/**
 * Answers a query for the items of a node: sends the results, and returns `<fin/>`. Rejects with StanzaError; and so it
 * does if the asker loses access while items are read: they may have been published after that.
 */
export async function queryArchive (
  engine: PubSubEngine, outletOf: (from: Jid) => Outlet, { stanza: { from, to }, payload, session }: Request,
): Promise<Element> {
  const { bare } = to
  const name = attributeOf(payload, 'node')
  const { items, bytes, fin } = await archivePage(await engine.reading(bare, name, from), payload)
  session?.charge(costOfRows(items.length) + costOfBytes(bytes))
  const { node } = await engine.reading(bare, name, from)
  const results = archiveResults(node, bare, from, payload, items)
  if (await outletOf(bare).draw(session ?? from, results)) return fin
  throw new StanzaError('resource-constraint', 'the results are read too slowly', { type: 'wait' })
}

/** A page that is ready to be sent: its items in the order of sending, and `<fin/>`. */
interface ArchivePage { readonly items: readonly Item[], readonly bytes: number, readonly fin: Element }

/** Reads a page of the items of a node. Throws StanzaError if the query is malformed, or an id is unknown. */
async function archivePage (reading: Reading, query: Element): Promise<ArchivePage> {
  const { owner, node, asker, items } = reading
  if (!keepsItems(node.config)) throw unsupported('persistent-items')
  const id = attributeOf(query, 'queryid')
  if (id !== undefined && id.length > LONGEST_QUERY_ID) throw new StanzaError('bad-request', 'the queryid is too long')
  const paging = readPaging(query)
  if (paging?.index !== undefined) throw new StanzaError('feature-not-implemented')
  const filter = filterOf(query, paging, sinceOf(node, asker.now))
  if (paging?.max === 0) {
    const count = await items.countOf(owner, node, filter)
    return { items: [], bytes: 0, fin: finOf([], count === 0, count) }
  }
  const limit = Math.min(paging?.max ?? MOST, MOST)
  const isFromEnd = paging?.before !== undefined
  const wanted = { ...filter, limit, bytes: LARGEST_ANSWER / 2, last: isFromEnd }
  const found = fitting(await items.matching(owner, node, wanted), isFromEnd)
  const fin = finOf(found.items, found.isComplete, undefined)
  const bytes = found.items.reduce((sum, { payload }) => sum + bytesOfPayload(payload), 0)
  return { items: has(query, NS.MAM, 'flip-page') ? found.items.toReversed() : found.items, bytes, fin }
}

function filterOf (query: Element, paging: Paging | undefined, since: number | undefined): ItemFilter {
  const form = formIn(query)
  const answers = form === undefined ? undefined : FORM.read(form, { unknown: 'refused' })
  const [start, end] = [answers?.get(START), answers?.get(END)]
  const from = Math.max(since ?? 0, start === undefined ? 0 : parseDateTime(start))
  const ids = (...all: readonly (string | undefined)[]): readonly string[] => all.filter(id => id !== undefined).filter(id => id !== '')
  return {
    ...from === 0 ? {} : { since: from },
    ...end === undefined ? {} : { until: parseDateTime(end) },
    after: ids(answers?.get(AFTER_ID), paging?.after),
    before: ids(answers?.get(BEFORE_ID), paging?.before),
  }
}

function finOf (items: readonly Item[], isComplete: boolean, count: number | undefined): Element {
  return xml('fin', { xmlns: NS.MAM, ...isComplete ? { complete: 'true' } : {} },
    pagingElement({ first: items[0]?.id, last: items.at(-1)?.id, ...count === undefined ? {} : { count } }))
}

/** Yields the results of a query, each when it is about to be sent: one item in each, as it was notified. */
function * archiveResults (
  node: Node, from: Jid, to: Jid, query: Element, items: readonly Item[],
): Generator<Addressed<'message'>> {
  const queryid = attributeOf(query, 'queryid')
  const empty = new Stanza('message', xml('message'), from, to)
  for (const item of items) {
    const delay = xml('delay', { xmlns: NS.DELAY, stamp: formatDateTime(item.at, { milliseconds: true }) })
    const forwarded = xml('forwarded', { xmlns: NS.FORWARD }, delay, notification(node, from, item))
    yield addressed(empty.with({ plus: [xml('result', { xmlns: NS.MAM, queryid, id: item.id }, forwarded)] }), to)
  }
}

function notification (node: Node, from: Jid, item: Item): Element {
  const { deliverPayloads, notificationType } = node.config
  const payload = item.payload === undefined || !deliverPayloads ? undefined : storedPayload(item.payload)
  const type = notificationType === 'headline' ? 'headline' : undefined
  return xml('message', { xmlns: NS.CLIENT, from: from.toString(), type },
    xml('event', { xmlns: NS.PUBSUB_EVENT }, itemsWith(node, item, payload)))
}
