/** What modules offer to each other: they meet here, never by import. */
import { follow, type Maybe } from '../base/maybe.js'
import { service } from '../base/slot.js'
import type { Batch } from '../storage/store.js'
import type { Element } from '../xml/element.js'
import type { Jid } from '../xmpp/jid.js'
import type { Message, Presence, Stanza } from '../xmpp/stanza.js'
import type { Urgency } from '../xmpp/urgency.js'
import type { Session } from './session.js'

/** RFC 6121 §2.1.2: one contact as an account sees it. */
export interface RosterItem {
  readonly jid: Jid
  readonly name: string
  readonly groups: readonly string[]
  readonly subscription: 'none' | 'to' | 'from' | 'both'
  /** A subscription request of ours waits for the contact's answer ("pending out"). */
  readonly ask: boolean
  /** Pre-approved (RFC 6121 §3.4). */
  readonly approved: boolean
}

/** An account's roster, as it stands now. */
export interface Roster {
  /** XEP-0237-style version: changes with every change of an item. */
  readonly version: string
  item (contact: Jid): RosterItem | undefined
  items (): Iterable<RosterItem>
  /** A request from this contact waits for the account's answer ("pending in"): the stanza, to be shown again at each login. */
  pendingIn (contact: Jid): string | undefined
  /** How many requests wait for the account's answer. */
  readonly requests: number
}

export interface Rosters {
  /** At once for an account that is in memory: one with sessions always is. */
  of (account: Jid): Maybe<Roster>
  /**
   * Adds or replaces an item as an administrator or import would; devices get the push once the batch is stored. Throws
   * StanzaError at the quota.
   */
  put (account: Jid, item: RosterItem, batch: Batch): Maybe<void>
}
export const rosters = service<Rosters>('rosters')

/** Whether `asker` may see the presence of an account (RFC 6121 §3.1): the account itself, and those with a subscription to it. */
export function mayKnow (asker: Jid, account: Jid, all: Rosters | undefined): Maybe<boolean> {
  if (asker.bare.equals(account)) return true
  if (all === undefined) return false
  return follow(all.of(account), roster => {
    const subscription = roster.item(asker.bare)?.subscription
    return subscription === 'from' || subscription === 'both'
  })
}

export interface Blocklists {
  /** Whether the account has blocked this address (XEP-0191 §3: full, bare, domain with resource, domain). */
  blocks (account: Jid, other: Jid): Maybe<boolean>
  /** What the account has blocked. */
  of (account: Jid): Maybe<readonly Jid[]>
}
export const blocklists = service<Blocklists>('blocklists')

/** XEP-0313: what accounts have said and heard. */
export interface Archives {
  /** The id under which the account's archive has this message, as the account's own devices see it; undefined where it has it not. */
  idOf (account: Jid, message: Message): string | undefined
  /** Whether the account's archive has this message, be it one that comes back from a session that has ended. */
  keeps (account: Jid, message: Message): Maybe<boolean>
  /** Which of these ids the account's archive still has. */
  has (account: Jid, ids: readonly string[]): Promise<ReadonlySet<string>>
}
export const archives = service<Archives>('archives')

/** XEP-0352: which devices somebody looks at, and what matters to those that nobody does. */
export interface ClientStates {
  isInactive (session: Session): boolean
  /** By the rules, and what the operator has added to them. */
  urgencyOf (stanza: Stanza): Urgency
}
export const clientStates = service<ClientStates>('clientStates')

/** XEP-0280 */
export interface Carbons {
  /** Whether a device is sent a copy of this message, which came for another one of its account. */
  goesTo (message: Message, device: Session): boolean
}
export const carbons = service<Carbons>('carbons')

/** RFC 6121 §4.6: directed presence. */
export interface Presences {
  /** Whom a device has told that it is here, beside those who see its presence anyway. */
  told (device: Session): Iterable<Jid>
  /** Forgets those: they are not told of its end. */
  untell (device: Session, whom: (told: Jid) => boolean): void
  /** Forgets what an account was told of its contacts: what they say next is news, whatever it is. */
  forget (account: Jid): void
}
export const presences = service<Presences>('presences')

/** XEP-0030 §3: what an entity is. */
export interface Identity { readonly category: string, readonly type: string, readonly name?: string }
export interface DiscoItem { readonly jid: Jid, readonly node?: string, readonly name?: string }

/** What modules add to the host's answers to disco, and what takes it out again; features they declare in their definition. */
export interface Discovery {
  identity (identity: Identity): () => void
  /** A form of XEP-0128, made anew for each answer; undefined: none now. */
  form (make: () => Element | undefined): () => void
  item (item: DiscoItem): () => void
  /** The disco#info answer of the host itself: what its caps hash is computed from. */
  info (): Element
}
export const discovery = service<Discovery>('discovery')

export interface Capabilities {
  /** The features that a device last declared and proved (XEP-0115 §5.4); undefined: not known (yet). */
  of (device: Jid): ReadonlySet<string> | undefined
  /** The presence to broadcast: without its caps where they are the same as those that went out before (§8.4). */
  trimmed (presence: Presence, before: Presence | undefined): Presence
}
/** XEP-0115 §4: names the software, beside its hash. */
export const CAPS_NODE = 'urn:sestina:server'
export const capabilities = service<Capabilities>('capabilities')

/** An account's messages that wait for it. */
export interface OfflineMessages {
  /** How many messages an account has waiting. */
  count (account: Jid): Promise<number>
  /** All that waits, oldest first, as text of stanzas; for export. */
  all (account: Jid): AsyncIterable<{ readonly at: number, readonly octets: string }>
  /** Adds one as import does. Throws StanzaError at the quota. */
  add (account: Jid, message: { readonly at: number, readonly from: Jid, readonly octets: string }, batch: Batch): Maybe<void>
}
export const offlineMessages = service<OfflineMessages>('offlineMessages')

/** When devices that say nothing are asked for a sign of life. */
export interface Heartbeats {
  /** How long a device at this address may be silent before it is asked, as far as its network is known; in milliseconds. */
  silenceAt (address: string): number
  /** A device has answered what ended so long a silence of both sides, in milliseconds. */
  answered (device: Session, silence: number): void
}
export const heartbeats = service<Heartbeats>('heartbeats')
