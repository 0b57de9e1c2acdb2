/** Sessions that were here when the process ended, and are here again. */
import { Handed, jidOf, parseElement, parseJid, Stanza, toOctets } from '../../lib/api.js'
import type { Entry, Former, Jid, ModuleHost, Presence } from '../../lib/api.js'
import { Managed, type ManagedHome } from './managed.js'
import type { Counts, Row, SessionState, Stores } from './stores.js'

const PAGE = 500
const NONE: Counts = { in: 0, out: 0 }

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

/** Who has left anything, at this host. */
async function ownersOf ({ sessions, unacknowledged }: Stores, domain: string): Promise<ReadonlySet<string>> {
  const found = new Set<string>()
  for (const store of [sessions, unacknowledged]) {
    for (let after: string | undefined; ;) {
      const owners = await store.owners({ limit: PAGE, ...after === undefined ? {} : { after } })
      for (const owner of owners) if (parseJid(owner).domain === domain) found.add(owner)
      after = owners.at(-1)
      if (owners.length < PAGE || after === undefined) break
    }
  }
  return found
}

async function recallAccount (host: Pick<ModuleHost, 'restore' | 'batch'>, home: ManagedHome, account: Jid): Promise<readonly Managed[]> {
  const { stores } = home
  const owner = account.toString()
  const [states, counts, rows] = [await stores.sessions.all(owner), await stores.counts.all(owner), await rowsOf(stores, owner)]
  const groups = new Map<string, Handed>()
  const found: Managed[] = []
  const batch = host.batch()
  for (const [id, state] of states) {
    const jid = jidOf(account.local, account.domain, state.resource)
    if (state.patience === 0) {
      batch.add(stores.sessions.putting(owner, id, undefined))
      batch.add(stores.counts.putting(owner, id, undefined))
      continue
    }
    const session = await host.restore(jid, formerOf(state, jid))
    const own = (rows.get(jid.toString()) ?? []).map(row => [row, handedOf(row.value, groups)] as const)
    rows.delete(jid.toString())
    const past = { counts: counts.get(id) ?? NONE, rows: own, isWhole: state.isWhole }
    const managed = new Managed(home, session, { id, patience: state.patience }, past)
    session.manage(managed)
    found.push(managed)
  }
  await batch.commit()
  // What is left belongs to nobody who could come back.
  for (const { id, at, value } of [...rows.values()].flat()) {
    const removing = stores.unacknowledged.removing(owner, [id])
    const handed = handedOf(value, groups)
    const isLost = !handed.isConfirmed && !handed.isOpen
    handed.confirm() // what becomes of it now is all that is to become of it
    if (isLost) home.undelivered(toOctets(value.octets), at, removing)
    else home.discard(removing)
  }
  return found
}

/** By the address of their session, in order. */
async function rowsOf ({ unacknowledged }: Stores, owner: string): Promise<Map<string, Entry<Row>[]>> {
  const found = new Map<string, Entry<Row>[]>()
  for (let after: string | undefined; ;) {
    const { entries, complete } = await unacknowledged.page(owner, { limit: PAGE, ...after === undefined ? {} : { after } })
    for (const entry of entries) {
      const list = found.get(entry.with)
      if (list === undefined) found.set(entry.with, [entry])
      else list.push(entry)
    }
    after = entries.at(-1)?.id
    if (complete || after === undefined) return found
  }
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
