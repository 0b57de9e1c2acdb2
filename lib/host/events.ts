/**
 * The hooks of the core, in the order of a stanza's way. Read this first.
 *
 * bytes → xml/parser → stream queue (one at a time) → c2s/client → Host.receive → pipeline/steps.ts:
 *   message   → messageSent → router → messageArriving (screen, stamp, act: modules/message picks sessions
 *               by RFC 6121 §8)
 *             → messageAddressed (record) → one commit → sending (gate) → socket → messageDelivered (observe)
 *   presence  → presenceSent (subscription, broadcast, directed) → router → presenceArriving → sending → socket
 *   iq        → iqSent → router → iqArriving → a handler of the iq table, or a session
 * A StanzaError thrown anywhere on the way becomes the reply in host/pipeline/reply.ts, and only there.
 */
import { hook } from '../base/hook.js'
import type { Batch } from '../storage/store.js'
import type { Element } from '../xml/element.js'
import type { StanzaError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import type { Addressed, Message, Presence, Stanza } from '../xmpp/stanza.js'
import type { Payer } from './cost.js'
import type { DeliveryTracker } from './delivery-tracker.js'
import type { Entity } from './entity.js'
import type { RosterItem } from './services.js'
import type { Session } from './session.js'

// ---- Stanzas from clients -----------------------------------------------------
/** A client's message, with `from` stamped. Handlers may replace it. */
export interface MessageSent { message: Message, readonly session: Session, readonly batch: Batch }
export const messageSent = hook<MessageSent>('messageSent')

/** A client's presence; without `to` it is the session's own. 'handled': it is not routed. */
export interface PresenceSent { presence: Presence, readonly session: Session, readonly batch: Batch }
export const presenceSent = hook<PresenceSent>('presenceSent')

/** A client's request or reply to somebody else. */
export interface IqSent { iq: Addressed<'iq'>, readonly session: Session, readonly batch: Batch }
export const iqSent = hook<IqSent>('iqSent')

// ---- Stanzas to a local account -------------------------------------------------
/**
 * A stanza for a local account. Handlers in `act` fill `recipients`. 'handled' ends it silently; a StanzaError answers
 * it.
 */
interface Arriving {
  readonly account: Jid
  /** The sender's session, if the sender is a client of this server. */
  readonly session: Session | undefined
  recipients: readonly Session[]
  readonly batch: Batch
}
export interface MessageArriving extends Arriving { message: Message }
export const messageArriving = hook<MessageArriving>('messageArriving')
export interface PresenceArriving extends Arriving {
  presence: Addressed<'presence'>
  /**
   * False if there is no such account. Handlers read and answer as for an account whose presence the sender may not
   * see, and store nothing.
   */
  readonly exists: boolean
}
export const presenceArriving = hook<PresenceArriving>('presenceArriving')
/** Fired before a request or reply to a local account or session is handled; also if there is no such account. */
export const iqArriving = hook<{
  readonly iq: Addressed<'iq'>
  readonly account: Jid
  readonly session: Session | undefined
}>('iqArriving')

// ---- Stanzas to an entity -------------------------------------------------------
/** A stanza to an entity, before the entity gets it. 'handled' ends it silently; a StanzaError answers it. */
interface ToEntityArriving {
  readonly entity: Entity
  /** The sender's session, if the sender is a client of this server. */
  readonly session: Session | undefined
  readonly batch: Batch
}
export interface EntityMessage extends ToEntityArriving { message: Message }
export const entityMessage = hook<EntityMessage>('entityMessage')
export interface EntityPresence extends ToEntityArriving { presence: Addressed<'presence'> }
export const entityPresence = hook<EntityPresence>('entityPresence')
/** Also fired for replies, unless they answer a request of the server itself. */
export interface EntityIq extends ToEntityArriving { readonly iq: Addressed<'iq'> }
export const entityIq = hook<EntityIq>('entityIq')

// ---- Messages with their recipients ---------------------------------------------
/**
 * A message with chosen recipients (none: no session receives it). Archive and offline store write to the batch and set
 * `kept`. If the message is not kept and has no recipients, the sender gets service-unavailable.
 */
export interface MessageAddressed {
  message: Message
  readonly account: Jid
  readonly recipients: readonly Session[]
  /**
   * The recipients that are not sent the message now, because a module stores it and sends it to them after the earlier
   * ones that it stores.
   */
  storedFor?: readonly Session[]
  kept: boolean
  readonly batch: Batch
  /** Who pays the cost of the message; undefined for the server's own. */
  readonly payer: Payer | undefined
  /** The tracker of the message's devices: a module that sends copies to other devices notes them here. */
  readonly handed: DeliveryTracker
}
export const messageAddressed = hook<MessageAddressed>('messageAddressed')

/**
 * A message whose sessions all ended before a device acknowledged it (XEP-0198 §4). `recipients` are the sessions that
 * are there now. If there are none, the offline store writes to the batch and sets `kept`. `at` is when the message
 * came, in milliseconds since 1970.
 */
export interface MessageUndelivered {
  readonly message: Message
  readonly account: Jid
  readonly recipients: readonly Session[]
  readonly at: number
  kept: boolean
  readonly batch: Batch
}
export const messageUndelivered = hook<MessageUndelivered>('messageUndelivered')

/** Fired when a message is committed and sent to these sessions. For observers only. */
export const messageDelivered = hook<{
  readonly message: Message
  readonly account: Jid
  readonly recipients: readonly Session[]
}>('messageDelivered')

/**
 * A broadcast of a room or a node of this server to devices of this host, before it is stored. Its recipients do not
 * get `messageArriving` and the hooks after it. A handler removes from `recipients` those for whom it must look at the
 * stanza: they are sent it by itself, in the usual way. Handlers must not wait. Only for messages of the types
 * groupchat and headline and for available and unavailable presence; all others go the usual way.
 */
export interface BroadcastArriving { readonly stanza: Stanza, recipients: readonly Session[], readonly batch: Batch }
export const broadcastArriving = hook<BroadcastArriving>('broadcastArriving')

/** Fired when a broadcast is stored and was given to these sessions. For observers only. */
export interface BroadcastDelivered { readonly stanza: Stanza, readonly recipients: readonly Session[] }
export const broadcastDelivered = hook<BroadcastDelivered>('broadcastDelivered')

/** The last gate before a session's socket. Handlers may replace `stanza`. 'handled': the stanza is held or dropped. */
export const sending = hook<{ readonly session: Session, stanza: Stanza }>('sending')

// ---- Other servers -----------------------------------------------------------------
/** A stanza of another server with checked addresses; `peer` is the server's domain. 'handled': it is not routed. */
export interface StanzaFromServer { readonly stanza: Addressed, readonly peer: string }
export const stanzaFromServer = hook<StanzaFromServer>('stanzaFromServer')
/** A stanza on its way to another server. 'handled': it is not sent. */
export interface StanzaToServer { readonly stanza: Addressed, readonly peer: string }
export const stanzaToServer = hook<StanzaToServer>('stanzaToServer')

/**
 * Fired when another server can be reached again after an outage. Stanzas of both directions, above all presence, may
 * be lost.
 */
export const serverReturned = hook<{ readonly peer: string }>('serverReturned')

// ---- A session's life -------------------------------------------------------------
export const sessionBound = hook<{ readonly session: Session }>('sessionBound')
/** Fired when a session has sent available presence, its first or a later one. `before` is the state before it. */
export const sessionPresent = hook<{
  readonly session: Session
  readonly before: { readonly available: boolean, readonly priority: number }
}>('sessionPresent')
/**
 * Fired by the first available presence, or the first after unavailable. `first`: no other session of the account was
 * available.
 */
export const sessionAvailable = hook<{ readonly session: Session, readonly first: boolean }>('sessionAvailable')
/** Fired when a session becomes unavailable. `last`: no other session of the account is available. */
export const sessionUnavailable = hook<{ readonly session: Session, readonly last: boolean }>('sessionUnavailable')
/** Fired when a session's connection is lost. If a handler sets `keep`, the session hibernates; else it is closed. */
export const sessionDetached = hook<{
  readonly session: Session
  readonly reason: Error | undefined
  keep: boolean
}>('sessionDetached')
export const sessionResumed = hook<{ readonly session: Session }>('sessionResumed')
/** Fired when a session's device becomes active again (XEP-0352). */
export const sessionActive = hook<{ readonly session: Session }>('sessionActive')
/**
 * Fired when the server is about to stop. If a handler sets `keep`, the session is saved for the next start; else it is
 * closed.
 */
export const sessionParting = hook<{ readonly session: Session, keep: boolean }>('sessionParting')
/** Fired when a session was removed from the host's sessions. Its presence can still be read. */
export const sessionClosed = hook<{ readonly session: Session, readonly reason: Error | undefined }>('sessionClosed')

// ---- Accounts -----------------------------------------------------------------------
export const accountCreated = hook<{ readonly account: Jid, readonly batch: Batch }>('accountCreated')
/**
 * Fired before an account is removed. Its own rows are removed without a handler; handlers remove what is stored
 * elsewhere.
 */
export const accountRemoved = hook<{ readonly account: Jid, readonly batch: Batch }>('accountRemoved')
/**
 * Fired at each host of this server before an account of one of them is removed, and before `accountRemoved`. Handlers
 * remove what other accounts and services have stored about it, so that a later account of its name does not inherit
 * that. They may use commits of their own.
 */
export const accountLeaving = hook<{ readonly account: Jid, readonly batch: Batch }>('accountLeaving')
export const passwordChanged = hook<{ readonly account: Jid }>('passwordChanged')
/**
 * Fired when a device of the account has lost its access: it was revoked (XEP-0494), or gave up its token (XEP-0484).
 * `device` is the value of `deviceOf`.
 */
export const accessEnded = hook<{ readonly account: Jid, readonly device: string }>('accessEnded')
/**
 * A device of the account has displayed the messages of a contact or a room. `id` is the last message read, by the
 * archive's or the sender's id; undefined for all messages so far. Fired by the module that learns of it (XEP-0490).
 */
export interface MessagesDisplayed { readonly account: Jid, readonly contact: Jid, readonly id: string | undefined }
export const messagesDisplayed = hook<MessagesDisplayed>('messagesDisplayed')
/** Fired when an account's subscription to a contact, or a contact's to the account, has changed. */
export const subscriptionChanged = hook<{
  readonly account: Jid
  readonly contact: Jid
  readonly batch: Batch
}>('subscriptionChanged')

/** Fired when an item of a roster has changed: its subscription, its groups, or anything else. */
export interface RosterItemChanged {
  readonly account: Jid
  readonly contact: Jid
  /** The item before and after; undefined if it was not, or is not, in the roster. */
  readonly before: RosterItem | undefined
  readonly after: RosterItem | undefined
  readonly batch: Batch
}
export const rosterItemChanged = hook<RosterItemChanged>('rosterItemChanged')
/**
 * Fired when the features of a device have become known after its presence, because the server had to ask for them
 * (XEP-0115 §6.2).
 */
export const capsLearned = hook<{ readonly device: Jid }>('capsLearned')

// ---- Accounts that move (XEP-0227) ---------------------------------------------------
/**
 * An account is exported. A handler adds the elements that its module stores: those of <user/>, or those in a container
 * in it. Each element is made only when it is needed, so that a large account needs little memory.
 */
export interface AccountExporting {
  readonly account: Jid
  readonly add: (elements: Iterable<Element> | AsyncIterable<Element>, within?: Element) => void
}
export const accountExporting = hook<AccountExporting>('accountExporting')
/**
 * One element of an account's import. The handler that knows it stores it and returns 'handled'. A StanzaError means
 * that it cannot be imported, and nothing of it was. Importing an element twice has the same result as importing it
 * once.
 */
export interface AccountImporting {
  readonly account: Jid
  readonly element: Element
  /** The container in <user/> that holds the element, by namespace and name; undefined for <user/> itself. */
  readonly within: { readonly namespace: string, readonly name: string } | undefined
  readonly batch: Batch
  /** Tells the operator, in one line, which part of the element is not imported although the rest is. */
  readonly leavesOut: (what: string) => void
}
export const accountImporting = hook<AccountImporting>('accountImporting')

// ---- The host -------------------------------------------------------------------------
/** Fired when a stanza was answered with an error made here. */
export const stanzaBounced = hook<{ readonly stanza: Addressed, readonly error: StanzaError }>('stanzaBounced')
/** Fired when the host's modules are loaded for the first time, before any client connects. */
export const hostRaised = hook<Record<never, never>>('hostRaised')
/**
 * Fired when connections are accepted and other servers can be reached. At a start it comes after `hostRaised`, which
 * restores sessions.
 */
export const hostOpened = hook<Record<never, never>>('hostOpened')
/**
 * Fired when the server stops: handlers save these sessions for the next start. Nothing more is taken from their
 * devices.
 */
export const hostParting = hook<{ readonly sessions: readonly Session[] }>('hostParting')
/** Fired when the features of the host have changed: a module was loaded or unloaded. */
export const offersChanged = hook<Record<never, never>>('offersChanged')
