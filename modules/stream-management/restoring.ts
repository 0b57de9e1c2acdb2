/** Restores the sessions of the previous process. */
import {
  checkedPage, checkElementText, DeliveryTracker, jidOf, ownersAt, parseElement, parseJid, Stanza, StorageUnavailable,
  toOctets,
} from '../../lib/api.js'
import type { Entry, SavedSession, Jid, ModuleHost, Presence, Session } from '../../lib/api.js'
import type { Past, PastRow } from './home.js'
import { ManagedSession, type ManagedHome } from './managed.js'
import { octetsOf, PastBroadcasts } from './past-broadcasts.js'
import type { Counts, Row, SessionState, Stores } from './stores.js'

/** The parts that hand back the stanzas of sessions that cannot be restored. */
type Heir = Pick<ManagedHome<ManagedSession>, 'stores' | 'undelivered' | 'submit'>

const PAGE = 500

/**
 * Yields each restored session with its presence and slots. The stanzas of sessions that cannot be resumed are handed
 * back.
 */
export async function * recall (host: Pick<ModuleHost, 'domain' | 'restore' | 'log' | 'batch'>, home: ManagedHome<ManagedSession>): AsyncGenerator<ManagedSession> {
  const broadcasts = await PastBroadcasts.read(home.stores, host.domain)
  let isWhole = true
  for (const owner of await ownersOf(home.stores, host.domain)) {
    try {
      for (const managed of await recallAccount(host, home, parseJid(owner), broadcasts)) yield managed
    } catch (error) {
      isWhole = false
      host.log.error('sessions not restored', { account: owner, error })
    }
  }
  // A session that could not be restored may be restored by the next start.
  const clearing = isWhole ? broadcasts.clearing(home.stores, host.domain) : undefined
  if (clearing !== undefined) home.submit(clearing)
}

/** Ends all stored sessions because the module is off, and hands back their unacknowledged stanzas. */
export async function forgo (host: Pick<ModuleHost, 'domain' | 'log' | 'batch'>, heir: Heir): Promise<void> {
  const { stores } = heir
  const broadcasts = await PastBroadcasts.read(stores, host.domain)
  for (const owner of await ownersOf(stores, host.domain)) {
    try {
      const account = parseJid(owner)
      const { rows } = await rowsOf(stores, owner)
      const counts = await stores.counts.all(owner)
      for (const [id, state] of await stores.sessions.all(owner)) {
        giveBackShared(heir, broadcasts, account, { id, state, count: counts.get(id) }, rows)
      }
      const batch = host.batch()
      batch.add(stores.sessions.clearing(owner))
      batch.add(stores.counts.clearing(owner))
      await batch.commit()
      const groups = new Map<string, DeliveryTracker>()
      for (const entry of [...rows.values()].flat()) giveBack(heir, owner, entry, broadcasts, groups)
    } catch (error) {
      host.log.error('sessions not ended', { account: owner, error })
    }
  }
  heir.submit(stores.broadcasts.clearing(host.domain))
}

/** Returns the accounts of this host that have anything stored. */
async function ownersOf ({ sessions, counts, unacknowledged }: Stores, domain: string): Promise<ReadonlySet<string>> {
  const found = new Set<string>()
  for (const store of [sessions, counts, unacknowledged]) {
    for await (const owner of ownersAt(store, domain)) found.add(owner)
  }
  return found
}

async function recallAccount (
  host: Pick<ModuleHost, 'restore' | 'batch'>, home: ManagedHome<ManagedSession>, account: Jid, broadcasts: PastBroadcasts,
): Promise<readonly ManagedSession[]> {
  const { stores } = home
  const owner = account.toString()
  const states = await stores.sessions.all(owner)
  const counts = await stores.counts.all(owner)
  const { rows, unread } = await rowsOf(stores, owner)
  const groups = new Map<string, DeliveryTracker>()
  const found: ManagedSession[] = []
  const batch = host.batch()
  for (const id of counts.keys()) if (!states.has(id)) batch.add(stores.counts.putting(owner, id, undefined))
  for (const [id, state] of states) {
    const count = counts.get(id)
    // Without its counts the session cannot be resumed: it is treated as ended.
    const session = state.patience === 0 || count === undefined
      ? undefined
      : await restored(host, stores, account, id, state)
    if (session === undefined || count === undefined) {
      giveBackShared(home, broadcasts, account, { id, state, count }, rows)
      batch.add(stores.sessions.putting(owner, id, undefined))
      batch.add(stores.counts.putting(owner, id, undefined))
      continue
    }
    const jid = session.jid.toString()
    const all = rows.get(jid) ?? []
    const own = all.flatMap(entry => pastRow(home, owner, entry, broadcasts, groups) ?? [])
    const past = pastOf({ id, state, count }, broadcasts, own, !unread.has(jid) && own.length === all.length)
    rows.delete(jid)
    const managed = new ManagedSession(home, session, { id, resumeTimeout: state.patience }, past)
    session.setManager(managed)
    found.push(managed)
  }
  await batch.commit()
  // The rest belongs to sessions that cannot be resumed.
  for (const entry of [...rows.values()].flat()) giveBack(home, owner, entry, broadcasts, groups)
  return found
}

/** Returns what is known of a session. `isRead`: all of its rows could be read. */
function pastOf (
  { id, state, count }: StoredState & { readonly count: Counts }, broadcasts: PastBroadcasts, own: readonly PastRow[],
  isRead: boolean,
): Past {
  const numbering = numberingOf(state)
  return {
    counts: count,
    numbering,
    items: broadcasts.owed(id, count, numbering, own),
    // An unreadable stanza has a number and may have been sent, so the device's own count decides, as after a crash.
    isWhole: state.isWhole && isRead && broadcasts.isWhole,
  }
}

/** Restores the session of a stored state. An unreadable state is put aside, and the session has ended. */
async function restored (
  host: Pick<ModuleHost, 'restore'>, stores: Stores, account: Jid, id: string, state: SessionState,
): Promise<Session | undefined> {
  try {
    const jid = deviceOf(account, state)
    return await host.restore(jid, formerOf(state, jid))
  } catch (error) {
    if (error instanceof StorageUnavailable) throw error
    await stores.sessions.setAside(account.toString(), id, state, error)
    return undefined
  }
}

/** Returns the address of a stored session. Throws JidError if it is none. */
function deviceOf ({ local, domain }: Jid, { resource }: SessionState): Jid { return jidOf(local, domain, resource) }

function numberingOf ({ numbering = 0 }: SessionState): number { return numbering }

/** Returns a row with the body that it refers to. A row whose body is gone is put aside. */
function pastRow (
  { stores }: Heir, owner: string, entry: Entry<Row>, broadcasts: PastBroadcasts, groups: Map<string, DeliveryTracker>,
): PastRow | undefined {
  const { of } = entry.value
  const body = of === undefined ? undefined : broadcasts.body(of)
  if (of === undefined || body !== undefined) return { entry, handed: handedOf(entry.value, groups), body }
  void stores.unacknowledged.setAside(owner, entry, new Error('the body of the broadcast is gone'))
  return undefined
}

/** A session as it was stored. */
interface StoredState { readonly id: string, readonly state: SessionState, readonly count: Counts | undefined }

/** Hands back the broadcasts that a session was owed and that have no other row than the one of their body. */
function giveBackShared (
  heir: Heir, broadcasts: PastBroadcasts, account: Jid, { id, state, count }: StoredState,
  rows: ReadonlyMap<string, readonly Entry<Row>[]>,
): void {
  if (!broadcasts.has(id)) return
  const device = deviceOf(account, state)
  // Those with rows of their own are handed back with these.
  const own = rows.get(device.toString()) ?? []
  const past = own.map(entry => ({ entry, handed: new DeliveryTracker(), body: undefined }))
  for (const item of broadcasts.owed(id, count ?? { in: 0, out: 0 }, numberingOf(state), past)) {
    if (!('entry' in item)) heir.undelivered(octetsOf(item, device), item.body.at, undefined)
  }
}

/** Hands back a stanza that no device will acknowledge. */
function giveBack (
  home: Heir, owner: string, entry: Entry<Row>, broadcasts: PastBroadcasts, groups: Map<string, DeliveryTracker>,
): void {
  const { id, at } = entry
  const removing = home.stores.unacknowledged.removing(owner, [id])
  const past = pastRow(home, owner, entry, broadcasts, groups)
  if (past === undefined) return
  const { handed } = past
  const isLost = !handed.isConfirmed && !handed.isOpen
  handed.confirm() // nothing else happens to it later
  try {
    if (isLost) home.undelivered(octetsOf(past, parseJid(entry.with)), at, removing)
    else home.submit(removing)
  } catch (error) {
    void home.stores.unacknowledged.setAside(owner, entry, error)
  }
}

/** Reads the rows by the address of their session, in order; `unread`: the sessions with rows that were put aside. */
async function rowsOf ({ unacknowledged }: Stores, owner: string): Promise<{
  readonly rows: Map<string, Entry<Row>[]>
  readonly unread: ReadonlySet<string>
}> {
  const rows = new Map<string, Entry<Row>[]>()
  const unread = new Set<string>()
  for (let after: string | undefined; ;) {
    const query = { limit: PAGE, ...after === undefined ? {} : { after } }
    const page = await checkedPage(unacknowledged, owner, async () => {
      const found = await unacknowledged.page(owner, query)
      for (const entry of found.unread ?? []) unread.add(entry.with)
      return found
    }, entry => {
      if (!isSendable(entry.value)) {
        unread.add(entry.with)
        throw new Error('the stored text is not a stanza')
      }
    })
    for (const entry of page.entries) push(rows, entry)
    after = page.entries.at(-1)?.id
    if (page.complete || after === undefined) return { rows, unread }
  }
}

function isSendable ({ octets, of }: Row): boolean {
  if (of !== undefined) return octets === ''
  try {
    checkElementText(octets)
    return true
  } catch {
    return false
  }
}

function push (rows: Map<string, Entry<Row>[]>, entry: Entry<Row>): void {
  const list = rows.get(entry.with)
  if (list === undefined) rows.set(entry.with, [entry])
  else list.push(entry)
}

/** Returns the tracker of a row: copies of one message for several devices share it. */
function handedOf ({ group, confirmed }: Row, groups: Map<string, DeliveryTracker>): DeliveryTracker {
  const known = group === undefined ? undefined : groups.get(group)
  const handed = known ?? new DeliveryTracker(group, confirmed)
  if (group !== undefined) groups.set(group, handed)
  return handed
}

function formerOf (state: SessionState, jid: Jid): SavedSession {
  const { since, address, secure, lang, priority, slots } = state
  const presence = state.presence === undefined ? undefined : presenceOf(state.presence, jid)
  return { since, address, secure, lang, priority, slots, presence }
}

function presenceOf (text: string, from: Jid): Presence {
  return new Stanza('presence', parseElement(toOctets(text)), from, undefined)
}
