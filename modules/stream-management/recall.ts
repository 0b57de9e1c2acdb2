/** Sessions that were here when the process ended, and are here again. */
import { checkedPage, checkElement, Handed, jidOf, parseElement, parseJid, Stanza, StorageUnavailable, toOctets } from '../../lib/api.js'
import type { Entry, Former, Jid, ModuleHost, Presence, Session } from '../../lib/api.js'
import { Managed, type ManagedHome } from './managed.js'
import type { Row, SessionState, Stores } from './stores.js'

/** What is done with that which belongs to no session any more. */
type Heir = Pick<ManagedHome, 'stores' | 'undelivered' | 'submit'>

const PAGE = 500

/** Each of them, its presence and its slots as they were; what cannot be resumed goes the way of a session that has ended. */
export async function * recall (host: Pick<ModuleHost, 'domain' | 'restore' | 'log' | 'batch'>, home: ManagedHome): AsyncGenerator<Managed> {
  for (const owner of await ownersOf(home.stores, host.domain)) {
    try {
      for (const managed of await recallAccount(host, home, parseJid(owner))) yield managed
    } catch (error) {
      host.log.error('sessions not recalled', { account: owner, error })
    }
  }
}

/** None of them can be resumed, for the module is off: what they have not confirmed goes the way of sessions that have ended. */
export async function forgo (host: Pick<ModuleHost, 'domain' | 'log' | 'batch'>, heir: Heir): Promise<void> {
  const { stores } = heir
  for (const owner of await ownersOf(stores, host.domain)) {
    try {
      const { rows } = await rowsOf(stores, owner)
      const batch = host.batch()
      batch.add(stores.sessions.clearing(owner))
      batch.add(stores.counts.clearing(owner))
      await batch.commit()
      const groups = new Map<string, Handed>()
      for (const entry of [...rows.values()].flat()) giveBack(heir, owner, entry, groups)
    } catch (error) {
      host.log.error('sessions not ended', { account: owner, error })
    }
  }
}

/** Who has left anything, at this host. */
async function ownersOf ({ sessions, counts, unacknowledged }: Stores, domain: string): Promise<ReadonlySet<string>> {
  const found = new Set<string>()
  for (const store of [sessions, counts, unacknowledged]) {
    for (let after: string | undefined; ;) {
      const owners = await store.owners({ limit: PAGE, ...after === undefined ? {} : { after } })
      for (const owner of owners) if (owner.endsWith(`@${domain}`)) found.add(owner)
      after = owners.at(-1)
      if (owners.length < PAGE || after === undefined) break
    }
  }
  return found
}

async function recallAccount (host: Pick<ModuleHost, 'restore' | 'batch'>, home: ManagedHome, account: Jid): Promise<readonly Managed[]> {
  const { stores } = home
  const owner = account.toString()
  const [states, counts, { rows, unread }] = [await stores.sessions.all(owner), await stores.counts.all(owner), await rowsOf(stores, owner)]
  const groups = new Map<string, Handed>()
  const found: Managed[] = []
  const batch = host.batch()
  for (const id of counts.keys()) if (!states.has(id)) batch.add(stores.counts.putting(owner, id, undefined))
  for (const [id, state] of states) {
    const count = counts.get(id)
    // Without its counts nobody knows what it has: it is taken for one that has ended.
    const session = state.patience === 0 || count === undefined ? undefined : await restored(host, stores, account, id, state)
    if (session === undefined || count === undefined) {
      batch.add(stores.sessions.putting(owner, id, undefined))
      batch.add(stores.counts.putting(owner, id, undefined))
      continue
    }
    const jid = session.jid.toString()
    const own = (rows.get(jid) ?? []).map(row => [row, handedOf(row.value, groups)] as const)
    rows.delete(jid)
    // What could not be read has its number, and has perhaps been sent: the device's own count decides, as after a crash.
    const past = { counts: count, rows: own, isWhole: state.isWhole && !unread.has(jid) }
    const managed = new Managed(home, session, { id, patience: state.patience }, past)
    session.manage(managed)
    found.push(managed)
  }
  await batch.commit()
  // What is left belongs to nobody who could come back.
  for (const entry of [...rows.values()].flat()) giveBack(home, owner, entry, groups)
  return found
}

/** The session that a state describes; one that cannot be read is put aside, and has ended. */
async function restored (
  host: Pick<ModuleHost, 'restore'>, stores: Stores, account: Jid, id: string, state: SessionState,
): Promise<Session | undefined> {
  try {
    const jid = jidOf(account.local, account.domain, state.resource)
    return await host.restore(jid, formerOf(state, jid))
  } catch (error) {
    if (error instanceof StorageUnavailable) throw error
    await stores.sessions.setAside(account.toString(), id, state, error)
    return undefined
  }
}

/** What no device can have any more goes the way of a message to one that is gone. */
function giveBack (home: Heir, owner: string, entry: Entry<Row>, groups: Map<string, Handed>): void {
  const { id, at, value } = entry
  const removing = home.stores.unacknowledged.removing(owner, [id])
  const handed = handedOf(value, groups)
  const isLost = !handed.isConfirmed && !handed.isOpen
  handed.confirm() // what becomes of it now is all that is to become of it
  try {
    if (isLost) home.undelivered(toOctets(value.octets), at, removing)
    else home.submit(removing)
  } catch (error) {
    void home.stores.unacknowledged.setAside(owner, entry, error)
  }
}

/** By the address of their session, in order; `unread`: the sessions of those that were put aside. */
async function rowsOf ({ unacknowledged }: Stores, owner: string): Promise<{
  readonly rows: Map<string, Entry<Row>[]>, readonly unread: ReadonlySet<string>
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
        throw new Error('what went out is no stanza')
      }
    })
    for (const entry of page.entries) push(rows, entry)
    after = page.entries.at(-1)?.id
    if (page.complete || after === undefined) return { rows, unread }
  }
}

function isSendable ({ octets }: Row): boolean {
  try {
    checkElement(toOctets(octets))
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

/** One message on several devices is one that any of them may confirm. */
function handedOf ({ group, confirmed }: Row, groups: Map<string, Handed>): Handed {
  const known = group === undefined ? undefined : groups.get(group)
  const handed = known ?? new Handed(group, confirmed)
  if (group !== undefined) groups.set(group, handed)
  return handed
}

function formerOf (state: SessionState, jid: Jid): Former {
  const { since, address, secure, lang, priority, slots } = state
  const presence = state.presence === undefined ? undefined : presenceOf(state.presence, jid)
  return { since, address, secure, lang, priority, slots, presence }
}

function presenceOf (text: string, from: Jid): Presence {
  return new Stanza('presence', parseElement(toOctets(text)), from, undefined)
}
