/** The services that modules offer to each other. Modules never import each other. */
import { follow, type Maybe } from '../base/maybe.js'
import { service } from '../base/slot.js'
import type { Batch } from '../storage/store.js'
import type { Element } from '../xml/element.js'
import type { Jid } from '../xmpp/jid.js'
import type { Message, Presence, Stanza } from '../xmpp/stanza.js'
import type { Urgency } from '../xmpp/urgency.js'
import type { DiscoItem, DiscoNode, DiscoPage, Identity } from './disco.js'
import type { Answer, Featured, Request } from './iq.js'
import type { Session } from './session.js'

/** One contact of an account (RFC 6121 §2.1.2). */
export interface RosterItem {
  readonly jid: Jid
  readonly name: string
  readonly groups: readonly string[]
  readonly subscription: 'none' | 'to' | 'from' | 'both'
  /** True while a subscription request of the account waits for the contact's answer ("pending out"). */
  readonly ask: boolean
  /** Pre-approved (RFC 6121 §3.4). */
  readonly approved: boolean
}

/** The current roster of an account. */
export interface Roster {
  /** The version (as in XEP-0237): it changes with every change of an item. */
  readonly version: string
  item (contact: Jid): RosterItem | undefined
  items (): Iterable<RosterItem>
  /**
   * The request of this contact that waits for the account's answer ("pending in"): the stanza, to be shown again at
   * each login.
   */
  pendingIn (contact: Jid): string | undefined
  /** The number of requests that wait for the account's answer. */
  readonly requests: number
}

export interface Rosters {
  /** Returns the roster, without a promise if it is in memory: the roster of an account with sessions always is. */
  of (account: Jid): Maybe<Roster>
  /**
   * Adds or replaces an item, for an administrator or an import. Devices get the roster push after the batch is stored.
   * Throws StanzaError at the quota.
   */
  put (account: Jid, item: RosterItem, batch: Batch): Maybe<void>
}
export const rosters = service<Rosters>('rosters')

/**
 * True if `asker` may see the presence of an account (RFC 6121 §3.1): the account itself, and those with a subscription
 * to it.
 */
export function mayKnow (asker: Jid, account: Jid, all: Rosters | undefined): Maybe<boolean> {
  if (asker.bare.equals(account)) return true
  if (all === undefined) return false
  return follow(all.of(account), roster => {
    const item = roster.item(asker.bare)
    return item !== undefined && hasFrom(item)
  })
}

/** True if the contact is subscribed to the account's presence. */
export function hasFrom ({ subscription }: Pick<RosterItem, 'subscription'>): boolean {
  return subscription === 'from' || subscription === 'both'
}

/** True if the account is subscribed to the contact's presence. */
export function hasTo ({ subscription }: Pick<RosterItem, 'subscription'>): boolean {
  return subscription === 'to' || subscription === 'both'
}

export interface Blocklists {
  /** True if the account has blocked this address (XEP-0191 §3: full, bare, domain with resource, domain). */
  blocks (account: Jid, other: Jid): Maybe<boolean>
  /** Returns the addresses that the account has blocked. */
  of (account: Jid): Maybe<readonly Jid[]>
}
export const blocklists = service<Blocklists>('blocklists')

/** The archives of accounts (XEP-0313). */
export interface Archives {
  /**
   * The id of this message in the account's archive, for the account's own devices; undefined if it is not archived.
   */
  idOf (account: Jid, message: Message): string | undefined
  /** True if the account's archive has this message, also if the message comes back from a session that has ended. */
  keeps (account: Jid, message: Message): Maybe<boolean>
  /** Returns those of these ids that the account's archive still has. */
  has (account: Jid, ids: readonly string[]): Promise<ReadonlySet<string>>
}
export const archives = service<Archives>('archives')

/** Client states (XEP-0352), and which stanzas matter to inactive devices. */
export interface ClientStates {
  isInactive (session: Session): boolean
  /** The urgency by the built-in rules and those of the operator. */
  urgencyOf (stanza: Stanza): Urgency
}
export const clientStates = service<ClientStates>('clientStates')

/** Message carbons (XEP-0280). */
export interface Carbons {
  /** True if a device gets a copy of this message, which was sent to another device of its account. */
  goesTo (message: Message, device: Session): boolean
}
export const carbons = service<Carbons>('carbons')

/** A message in the archive of an entity. `at`: in milliseconds since 1970; `from`: its sender; `octets`: as UTF-8. */
export interface ArchivedMessage {
  readonly id: string
  readonly at: number
  readonly from: string
  readonly octets: string
}

/** The rules of the archives of one kind of entities. Each throws StanzaError if the asker may not. */
export interface ArchiveRules<E> {
  /** May the asker read the archive? */
  read (this: void, entity: E, asker: Jid): Maybe<unknown>
  /** May the asker see and change which messages are archived (XEP-0441)? Without it, there are no preferences. */
  change? (this: void, entity: E, asker: Jid): Maybe<unknown>
}

/** The requests to one kind of entities: what `ModuleHost.entities` returns. */
export interface RequestsToEntities<E> {
  get (namespace: string, name: string, answer: (entity: E, request: Request) => Answer): void
  set (namespace: string, name: string, answer: (entity: E, request: Request) => Answer): void
}

/** The archives of one kind of entities. */
export interface EntityArchive {
  /** The features that disco#info of such an entity names. */
  readonly features: readonly string[]
  /**
   * Adds a message to the archive of an entity with the batch: the order of the archive is that of the commits. Returns
   * the message with the archive's id, which is sent to all (XEP-0313 §5.2); or as it is, if it is not archived because
   * of its hints (XEP-0334), its content or the preferences.
   */
  add (address: Jid, message: Message, batch: Batch): Maybe<Message>
  /** Returns the last messages, the oldest first: at most `limit`. */
  last (address: Jid, limit: number): Promise<readonly ArchivedMessage[]>
  /** Returns a message by the archive's id; undefined if there is none. */
  find (address: Jid, id: string): Promise<ArchivedMessage | undefined>
  /**
   * Returns the messages with this id of their senders, and the corrections of such messages (XEP-0308), whoever sent
   * them: a few at a time, and no more than one retraction may remove.
   */
  versions (address: Jid, messageId: string): AsyncIterable<readonly ArchivedMessage[]>
  /** Puts a tombstone in the place of a message with the batch (XEP-0424 §4). After that no search finds it. */
  replace (address: Jid, id: string, tombstone: Message, batch: Batch): void
  /** Removes the whole archive, and its preferences, with the batch. */
  clear (address: Jid, batch: Batch): void
}

/** Archives of addresses that are no accounts: rooms, nodes (XEP-0313). A service host has it if `mam` is on. */
export interface EntityArchives {
  /**
   * Answers queries to the archives of these entities (pages, metadata, preferences). The entity says who may read. It
   * goes on meanwhile, however slowly the results are read.
   */
  serve<E> (table: RequestsToEntities<E>, rules: ArchiveRules<E>): EntityArchive
}
export const entityArchives = service<EntityArchives>('entityArchives')

/** Directed presence (RFC 6121 §4.6). */
export interface Presences {
  /** The recipients of a device's directed presence, besides those who see its presence anyway. */
  directedTo (device: Session): Iterable<Jid>
  /** The recipients of those that have this bare address, without a look at any other. */
  directedAt (device: Session, bare: Jid): readonly Jid[]
  /** Forgets these recipients: they get no unavailable presence at the end of the session. */
  forgetDirected (device: Session, whom: (told: Jid) => boolean): void
  /**
   * Forgets which presence of its contacts an account was sent. Their next presence counts as new, whatever it says.
   */
  forget (account: Jid): void
}
export const presences = service<Presences>('presences')

/**
 * The additions of modules to the disco answers of the host, its accounts and its entities. Each method returns a
 * function that removes the addition. Features that are always there are declared in the module's definition.
 */
export interface Discovery {
  /** Adds an identity of the host, or of its accounts. */
  identity (identity: Identity, of?: 'host' | 'account'): () => void
  /** Adds a form (XEP-0128), made anew for each answer; undefined if there is none at the moment. */
  form (make: () => Element | undefined): () => void
  item (item: DiscoItem): () => void
  /** Adds features that are asked for with each answer, because they come and go. */
  feature (of: Featured, make: () => readonly string[]): () => void
  /**
   * Answers for nodes of these addresses. `answer` returns undefined for a node that it does not know. `forStrangers`:
   * `answer` is also called for an asker who may not learn whether the account exists. For such an asker it must return
   * only what everybody may read.
   */
  node (
    of: Featured, answer: (node: string, request: Request) => Maybe<DiscoNode | undefined>,
    how?: { readonly forStrangers?: boolean },
  ): () => void
  /** Lists items of the host, or of an account, for whoever asks, strangers included. Only one list has pages. */
  items (of: 'host' | 'account', make: (request: Request) => Maybe<readonly DiscoItem[] | DiscoPage>): () => void
  /** The name of the host: that of its first identity, if it has one. */
  readonly name: string | undefined
  /** The disco#info answer of the host itself. Its caps hash is computed from it. */
  info (): Element
}
export const discovery = service<Discovery>('discovery')

export interface Capabilities {
  /** The features that a device last declared and proved (XEP-0115 §5.4); undefined if they are not known yet. */
  of (device: Jid): ReadonlySet<string> | undefined
  /** Returns the presence to broadcast: without its caps if they are the same as in the presence before (§8.4). */
  trimmed (presence: Presence, before: Presence | undefined): Presence
}
/** XEP-0115 §4: the node names the software, beside its hash. */
export const CAPS_NODE = 'urn:sestina:server'
export const capabilities = service<Capabilities>('capabilities')

/** The offline messages of accounts. */
export interface OfflineMessages {
  /** The number of offline messages of an account. */
  count (account: Jid): Promise<number>
  /** All offline messages, the oldest first, as texts of stanzas. For an export. */
  all (account: Jid): AsyncIterable<{ readonly at: number, readonly octets: string }>
  /** Adds one message, for an import. Throws StanzaError at the quota. */
  add (
    account: Jid, message: { readonly at: number, readonly from: Jid, readonly octets: string }, batch: Batch,
  ): Maybe<void>
}
export const offlineMessages = service<OfflineMessages>('offlineMessages')

/** Private XML of accounts (XEP-0049). */
export interface PrivateStorage {
  /** Returns the stored element with this name and namespace; undefined if there is none. */
  of (account: Jid, name: string, namespace: string): Promise<Element | undefined>
}
export const privateStorage = service<PrivateStorage>('privateStorage')

/** Bookmarks of rooms, for the clients that keep them as one list (XEP-0048). */
export interface Bookmarks {
  /**
   * Returns the list; undefined if the account has none besides what its private storage has. `former`: the list that
   * private storage has, which may hold more than rooms.
   */
  read (account: Jid, former: Element | undefined): Promise<Element | undefined>
  /** Takes a list that a client has written. Rejects with StanzaError. */
  write (account: Jid, storage: Element, batch: Batch): Promise<void>
}
export const bookmarks = service<Bookmarks>('bookmarks')

/** When a user wants to be notified of messages in a chat (XEP-0492): on devices of one identity, or on all. */
export interface NotifySetting {
  readonly when: 'always' | 'on-mention' | 'never'
  readonly category: string | undefined
  readonly type: string | undefined
}

/** The settings of accounts for single chats. */
export interface ChatSettings {
  /** Returns the settings for the notifications of a chat; none if the user has chosen nothing. */
  notify (account: Jid, chat: Jid): Maybe<readonly NotifySetting[]>
}
export const chatSettings = service<ChatSettings>('chatSettings')

/** When the server pings silent devices. */
export interface Heartbeats {
  /**
   * How long a device at this address may be silent before it is pinged, as far as its network is known, in
   * milliseconds.
   */
  silenceAt (address: string): number
  /** Notes that a device has answered after a silence of both sides. `silence` is in milliseconds. */
  answered (device: Session, silence: number): void
}
export const heartbeats = service<Heartbeats>('heartbeats')
