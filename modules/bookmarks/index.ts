/**
 * XEP-0402 PEP Native Bookmarks: the same bookmarks for clients that know only XEP-0048, in private storage (XEP-0049)
 * or in a node.
 */
import {
  apart, bookmarks, defineModule, discovery, NS, octets, parsedPayload, pepChanging, personalEventing, privateStorage,
  put, retract, sessionBound,
} from '../../lib/api.js'
import type { Element, Item, Jid, ModuleHost, Node, NodeEvent, Work } from '../../lib/api.js'
import { bookmarksIn, isSame, roomOf, storageOf, withExtensions, type Bookmark } from './conversion.js'
import { offerNotifySettings } from './notify.js'

const FEATURES = [NS.BOOKMARKS_COMPAT, NS.BOOKMARKS_COMPAT_PEP, NS.BOOKMARKS_CONVERSION]
/** The id of the one item of a node with a list of XEP-0048. */
const CURRENT = 'current'

export default defineModule({
  name: 'bookmarks',
  about: 'Shows older and newer clients of a user the same bookmarks.',
  xeps: ['0048 v1.2', '0402 v1.2.0', '0411 v1.1.0'],
  requires: ['pep', 'private', 'disco'],

  setup (host) {
    /** Changes that begin here: they have both forms already. */
    const own = new WeakSet<Work>()

    host.provide(bookmarks, {
      read: (account, former) => readList(host, account, former),
      write: (account, storage, batch) => host.use(personalEventing).change(account, batch, async work => {
        own.add(work)
        await takeList(work, storage)
        await writeList(work, storage)
      }),
    })

    host.on(pepChanging, async ({ work }) => {
      if (own.has(work)) return
      const list = work.events.findLast(event => event.what === 'item' && event.node.name === NS.STORAGE_BOOKMARKS)
      if (list?.what === 'item' && list.payload !== undefined) await takeList(work, list.payload)
      else if (work.events.some(({ node }) => node.name === NS.BOOKMARKS)) await writeList(work)
    })

    // Bookmarks that older clients have stored before the account had nodes.
    host.on(sessionBound, async ({ session: { account } }) => {
      try {
        if (!(await host.use(personalEventing).nodes(account)).has(NS.BOOKMARKS)) await takeOver(host, account, own)
      } catch (error) {
        host.log.warn('bookmarks not converted', { account: account.toString(), error })
      }
    }, 'record')

    offerNotifySettings(host)
    host.whileUp(() => host.use(discovery).feature('account', () => FEATURES))
  },
})

/** Returns the bookmarks of an account as a list; undefined if it has no node for them. */
async function readList (host: ModuleHost, account: Jid, former: Element | undefined): Promise<Element | undefined> {
  const pep = host.use(personalEventing)
  const nodes = await pep.nodes(account)
  const node = nodes.get(NS.BOOKMARKS)
  if (node === undefined) return undefined
  const list = nodes.get(NS.STORAGE_BOOKMARKS)
  const payload = list === undefined ? undefined : (await pep.newest(account, list))?.payload
  if (payload !== undefined) return storageOf(bookmarksIn(parsedPayload(payload)), former)
  return storageOf(await allOf(pep.pages(account, node)), former)
}

/** Makes the items of the bookmarks that are in private storage. */
async function takeOver (host: ModuleHost, account: Jid, own: WeakSet<Work>): Promise<void> {
  const storage = await host.use(privateStorage).of(account, 'storage', NS.STORAGE_BOOKMARKS)
  if (storage === undefined || bookmarksIn(storage).length === 0) return
  await apart(host, async batch => {
    await host.use(personalEventing).change(account, batch, async work => {
      own.add(work)
      await takeList(work, storage)
      await writeList(work, storage)
    })
  })
}

/** Changes the items to those of a list (XEP-0402 §5.3): unchanged ones stay as they are, and are not told of. */
async function takeList (work: Work, storage: Element): Promise<void> {
  const wanted = bookmarksIn(storage)
  const node = work.change.node(NS.BOOKMARKS)
  const known = new Map((await bookmarksAt(work, node)).map(one => [one.room, one.conference]))
  const items = wanted.flatMap(({ room, conference }) => {
    const old = known.get(room)
    if (old !== undefined && isSame(old, conference)) return []
    return [{ id: room, payload: old === undefined ? conference : withExtensions(conference, old) }]
  })
  closeNode(work, NS.BOOKMARKS)
  await put(work, NS.BOOKMARKS, items, {})
  const rooms = new Set(wanted.map(({ room }) => room))
  const ids = [...known.keys()].filter(room => !rooms.has(room))
  if (ids.length > 0) await retract(work, { node: NS.BOOKMARKS, ids, notify: true })
}

/** Writes the list for clients that know only that (XEP-0402 §5.2). `given`: the list of an older client. */
async function writeList (work: Work, given?: Element): Promise<void> {
  const node = work.change.node(NS.STORAGE_BOOKMARKS)
  const item = node === undefined ? undefined : await work.change.newest(node)
  const former = item?.payload === undefined ? undefined : parsedPayload(item.payload)
  const changed = given === undefined && former !== undefined ? changedList(work.events, former) : undefined
  const list = storageOf(changed ?? await bookmarksAt(work, work.change.node(NS.BOOKMARKS)), given ?? former)
  if (former !== undefined && octets(former) === octets(list)) return
  closeNode(work, NS.STORAGE_BOOKMARKS)
  await put(work, NS.STORAGE_BOOKMARKS, [{ id: CURRENT, payload: list }], {})
}

/** The events after which any items may be gone. */
const ALL_ITEMS: ReadonlySet<NodeEvent['what']> = new Set(['purge', 'delete', 'configuration'])

/**
 * Returns the bookmarks of the list as these events change them: to read all items for each change would let a small
 * stanza cause much work. Returns undefined if more has happened than changes of single items.
 */
function changedList (events: readonly NodeEvent[], former: Element): readonly Bookmark[] | undefined {
  const found = new Map(bookmarksIn(former).map(one => [one.room, one]))
  for (const event of events) {
    if (event.node.name !== NS.BOOKMARKS) continue
    if (ALL_ITEMS.has(event.what)) return undefined
    if (event.what !== 'item' && event.what !== 'retract') continue
    const id = event.what === 'item' ? event.item.id : event.id
    const room = roomOf(id) ?? id
    found.delete(room)
    if (event.what === 'item' && event.payload !== undefined) found.set(room, { room, conference: event.payload })
  }
  return [...found.values()]
}

/** XEP-0411 §5: nobody else may read the node into which bookmarks are copied. */
function closeNode (work: Work, name: string): void {
  const node = work.change.node(name)
  if (node === undefined || node.config.accessModel === 'whitelist') return
  work.put({ ...node, config: { ...node.config, accessModel: 'whitelist' } })
}

async function bookmarksAt (work: Work, node: Node | undefined): Promise<readonly Bookmark[]> {
  return node === undefined ? [] : await allOf(work.change.pages(node))
}

async function allOf (pages: AsyncIterable<readonly Item[]>): Promise<readonly Bookmark[]> {
  const found: Bookmark[] = []
  for await (const items of pages) {
    for (const { id, payload } of items) {
      if (payload !== undefined) found.push({ room: id, conference: parsedPayload(payload) })
    }
  }
  return found
}
