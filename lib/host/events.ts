/**
 * The hooks of the core, in the order of a stanza's way. Read this first.
 *
 * bytes → xml/parser → stream queue (one at a time) → c2s/client → Host.receive: addresses, stamps `from`
 *   message   → messageSent → router → messageArriving (screen, stamp, act: modules/message picks sessions, RFC 6121 §8)
 *             → messageAddressed (record) → one commit → sending (gate) → socket → messageDelivered (observe)
 *   presence  → presenceSent (subscription, broadcast, directed) → router → presenceArriving → sending → socket
 *   iq        → iqSent → router → iqArriving → a handler of the iq table, or a session
 * A StanzaError thrown anywhere on the way becomes the reply in host/router.ts, and only there.
 */
import { hook } from '../base/hook.js'
import type { Batch } from '../storage/store.js'
import type { Element } from '../xml/element.js'
import type { StanzaError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import type { Addressed, Message, Presence, Stanza } from '../xmpp/stanza.js'
import type { Payer } from './cost.js'
import type { Handed } from './handed.js'
import type { Session } from './session.js'

// ---- What a client sends ------------------------------------------------------
/** A client's message, `from` stamped. Handlers may put another in its place. */
export interface MessageSent { message: Message, readonly session: Session, readonly batch: Batch }
export const messageSent = hook<MessageSent>('messageSent')

/** A client's presence; without `to` it is the session's own. 'handled': it is not routed further. */
export interface PresenceSent { presence: Presence, readonly session: Session, readonly batch: Batch }
export const presenceSent = hook<PresenceSent>('presenceSent')

/** A client's request or reply to somebody else. */
export interface IqSent { iq: Addressed<'iq'>, readonly session: Session, readonly batch: Batch }
export const iqSent = hook<IqSent>('iqSent')

// ---- What reaches a local account -----------------------------------------------
/** For a local account. `act` fills `recipients`; 'handled' ends it silently; StanzaError answers. */
interface Arriving {
  readonly account: Jid
  /** The sender's session, where the sender is a client of this server. */
  readonly session: Session | undefined
  recipients: readonly Session[]
  readonly batch: Batch
}
export interface MessageArriving extends Arriving { message: Message }
export const messageArriving = hook<MessageArriving>('messageArriving')
export interface PresenceArriving extends Arriving {
  presence: Addressed<'presence'>
  /** false: nobody has this name. Handlers read and answer as for an account whose presence the sender may not see, and store nothing. */
  readonly exists: boolean
}
export const presenceArriving = hook<PresenceArriving>('presenceArriving')
/** Before a request or reply to a local account or session is handled; also for a name that nobody has. */
export const iqArriving = hook<{ readonly iq: Addressed<'iq'>, readonly account: Jid, readonly session: Session | undefined }>('iqArriving')

/**
 * Recipients are chosen (none: nobody is there). Archive and offline store write here, and set `kept`; unkept and without
 * recipients, the sender gets service-unavailable.
 */
export interface MessageAddressed {
  message: Message
  readonly account: Jid
  readonly recipients: readonly Session[]
  kept: boolean
  readonly batch: Batch
  /** Who pays for what it costs; undefined: it is the server's own. */
  readonly payer: Payer | undefined
  /** Who sends copies of it to other devices says so here. */
  readonly handed: Handed
}
export const messageAddressed = hook<MessageAddressed>('messageAddressed')

/**
 * It was handed to devices of the account, and none of them has confirmed it before its session ended (XEP-0198 §4). These are there now;
 * where there are none, the offline store writes here, and sets `kept`. `at`: when it came, in milliseconds since 1970.
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

/** Committed, and handed to these sessions. To observe only. */
export const messageDelivered = hook<{ readonly message: Message, readonly account: Jid, readonly recipients: readonly Session[] }>('messageDelivered')

/** The last gate before a session's socket. `stanza` may be put in place of another; 'handled': it is held or dropped. */
export const sending = hook<{ readonly session: Session, stanza: Stanza }>('sending')

// ---- Other servers -----------------------------------------------------------------
/** A stanza of another server's, its addresses checked; `peer` is its domain. 'handled': it goes no further. */
export interface StanzaFromServer { readonly stanza: Addressed, readonly peer: string }
export const stanzaFromServer = hook<StanzaFromServer>('stanzaFromServer')
/** A stanza on its way to another server. 'handled': it is not sent. */
export interface StanzaToServer { readonly stanza: Addressed, readonly peer: string }
export const stanzaToServer = hook<StanzaToServer>('stanzaToServer')

/** Another server was away, and is there again: what went to it and came from it meanwhile, presence above all, may be lost. */
export const serverReturned = hook<{ readonly peer: string }>('serverReturned')

// ---- A session's life -------------------------------------------------------------
export const sessionBound = hook<{ readonly session: Session }>('sessionBound')
/** It has sent available presence, its first or another. What it was before stands beside it. */
export const sessionPresent = hook<{ readonly session: Session, readonly before: { readonly available: boolean, readonly priority: number } }>('sessionPresent')
/** Its first presence, or the first after unavailable. `first`: no other session of the account was available. */
export const sessionAvailable = hook<{ readonly session: Session, readonly first: boolean }>('sessionAvailable')
/** `last`: no other session of the account is available. */
export const sessionUnavailable = hook<{ readonly session: Session, readonly last: boolean }>('sessionUnavailable')
/** Its connection is gone. A handler that sets `keep` has it wait for another; else it is closed. */
export const sessionDetached = hook<{ readonly session: Session, readonly reason: Error | undefined, keep: boolean }>('sessionDetached')
export const sessionResumed = hook<{ readonly session: Session }>('sessionResumed')
/** Somebody looks at its device again (XEP-0352). */
export const sessionActive = hook<{ readonly session: Session }>('sessionActive')
/** The server is about to stop. A handler that sets `keep` has the session live on behind its next start; else it is closed. */
export const sessionParting = hook<{ readonly session: Session, keep: boolean }>('sessionParting')
/** It is no longer among the host's sessions; its presence can still be read. */
export const sessionClosed = hook<{ readonly session: Session, readonly reason: Error | undefined }>('sessionClosed')

// ---- Accounts -----------------------------------------------------------------------
export const accountCreated = hook<{ readonly account: Jid, readonly batch: Batch }>('accountCreated')
/** Before it is gone. Its own rows go by themselves; a handler takes care of the traces elsewhere. */
export const accountRemoved = hook<{ readonly account: Jid, readonly batch: Batch }>('accountRemoved')
export const passwordChanged = hook<{ readonly account: Jid }>('passwordChanged')
/**
 * A device of the account has lost its access for good: it was revoked (XEP-0494), or has given its token back (XEP-0484). `device`: as
 * `deviceOf` names it.
 */
export const accessEnded = hook<{ readonly account: Jid, readonly device: string }>('accessEnded')
/**
 * On one of the account's devices was read what a contact, or a room, has written. `id`: of the last that was read, as the archive or its
 * sender names it; undefined: all that has come so far. For the module that hears of it (XEP-0490) to fire.
 */
export interface MessagesDisplayed { readonly account: Jid, readonly contact: Jid, readonly id: string | undefined }
export const messagesDisplayed = hook<MessagesDisplayed>('messagesDisplayed')
/** An account's subscription to a contact, or a contact's to it, is another now. */
export const subscriptionChanged = hook<{ readonly account: Jid, readonly contact: Jid, readonly batch: Batch }>('subscriptionChanged')

// ---- Accounts that move (XEP-0227) ---------------------------------------------------
/**
 * An account is written down. A handler adds what its module keeps of it: the elements of <user/>, or those of a container in it. Each is
 * made only when its turn comes, so that a large account costs little memory.
 */
export interface AccountExporting {
  readonly account: Jid
  readonly add: (elements: Iterable<Element> | AsyncIterable<Element>, within?: Element) => void
}
export const accountExporting = hook<AccountExporting>('accountExporting')
/**
 * One element that an import brings for an account. Whoever knows it takes it, and says 'handled'; StanzaError: it cannot be taken, and
 * nothing of it was. What is taken once and again leaves what it left the first time.
 */
export interface AccountImporting {
  readonly account: Jid
  readonly element: Element
  /** The container in <user/> that it stands in, by namespace and name; undefined: <user/> itself. */
  readonly within: { readonly namespace: string, readonly name: string } | undefined
  readonly batch: Batch
  /** Tells the operator what of the element is left out, in a line, although the rest of it is taken. */
  readonly leavesOut: (what: string) => void
}
export const accountImporting = hook<AccountImporting>('accountImporting')

// ---- The host -------------------------------------------------------------------------
/** A stanza came back as an error made here. */
export const stanzaBounced = hook<{ readonly stanza: Addressed, readonly error: StanzaError }>('stanzaBounced')
/** Its modules are up for the first time, and nobody has come yet. */
export const hostRaised = hook<Record<never, never>>('hostRaised')
/** Connections are taken, and other servers can be talked to: at first behind `hostRaised`, which brings back who was here. */
export const hostOpened = hook<Record<never, never>>('hostOpened')
/** The server stops: these sessions live on behind its next start, and are written down here. What they say is not taken any more. */
export const hostParting = hook<{ readonly sessions: readonly Session[] }>('hostParting')
/** What the host offers has changed: a module came or went. */
export const offersChanged = hook<Record<never, never>>('offersChanged')
