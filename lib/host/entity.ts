/** Entities: addresses at a service that are no accounts, such as rooms and nodes. This file says what they can do. */
import type { Maybe } from '../base/maybe.js'
import type { Batch } from '../storage/store.js'
import type { Element } from '../xml/element.js'
import type { Jid } from '../xmpp/jid.js'
import type { Addressed, Kind } from '../xmpp/stanza.js'
import type { Payer } from './cost.js'
import type { DiscoInfo, DiscoItem } from './disco.js'
import type { Session } from './session.js'

/** The name of a kind of entity. `E` is the value that its module has of each loaded entity. */
export interface EntityKind<E> { readonly name: string, readonly type?: E }

/** Makes the name of a kind of entity. Call it while files load. */
export function entityKind<E> (name: string): EntityKind<E> { return { name } }

/** Why an entity is loaded. What is added to the batch is stored with it. */
export interface Loading {
  /** The stanza that came for the entity; undefined if the server itself needs it (`EntityTable.with`). */
  readonly stanza: Addressed | undefined
  readonly session: Session | undefined
  readonly payer: Payer | undefined
  readonly batch: Batch
}

/** A stanza to an entity. What is added to the batch is stored with it. */
export interface ToEntity<K extends Kind = Kind> {
  readonly stanza: Addressed<K>
  /** The session that sent the stanza, if it is one of this server. */
  readonly session: Session | undefined
  /** Pays for what the stanza causes (cost.ts); undefined for stanzas of the server itself. */
  readonly payer: Payer | undefined
  readonly batch: Batch
}

/**
 * The behaviour of the entities of one kind. For one entity, its methods run one after the other: while one of them
 * waits, later stanzas to the entity wait. A StanzaError that they throw becomes the error reply.
 */
export interface EntityBehaviour<E> {
  /**
   * Loads an entity; returns undefined if there is none. It may make the entity because of a stanza. Its changes must
   * be in the batch, which may still fail: then call `EntityTable.forget`.
   */
  load (address: Jid, loading: Loading): Maybe<E | undefined>
  /** Adds to the batch what must be stored when the entity is unloaded. If it cannot be stored, the entity stays. */
  save? (entity: E, address: Jid, batch: Batch): Maybe<void>
  /** Returns about how many bytes of memory the entity takes. Called after each stanza, so it must be quick. */
  bytes (entity: E): number
  /** True if the entity cannot be unloaded now, such as a room with occupants. It is saved when the host ends. */
  isBusy? (entity: E): boolean
  /** Takes a message. Without it, messages are refused. */
  message? (entity: E, arrival: ToEntity<'message'>): Maybe<void>
  /** Takes presence. Without it, presence is ignored. */
  presence? (entity: E, arrival: ToEntity<'presence'>): Maybe<void>
  /**
   * Returns what the error reply to a presence holds besides the error, whoever refuses it and whether the entity is
   * loaded or not. Without it, nothing.
   */
  returned? (presence: Addressed<'presence'>): Element | undefined
  /** Takes a reply, a request to a full address, or one without a handler. Unless 'handled', a request is refused. */
  iq? (entity: E, arrival: ToEntity<'iq'>): Maybe<'handled' | undefined | void>
  /** Returns what disco#info says to the asker; undefined if there is no such node. */
  info (entity: E, node: string | undefined, asker: Jid): Maybe<DiscoInfo | undefined>
  /** Returns what disco#items lists for the asker; undefined if there is no such node. Without it, nothing. */
  items? (entity: E, node: string | undefined, asker: Jid): Maybe<readonly DiscoItem[] | undefined>
}

/** A loaded entity, as a module sees it that serves entities of all kinds. */
export interface Entity {
  readonly kind: string
  readonly address: Jid
  /** As `EntityBehaviour.info`. */
  info (node: string | undefined, asker: Jid): Maybe<DiscoInfo | undefined>
  /** As `EntityBehaviour.items`. */
  items (node: string | undefined, asker: Jid): Maybe<readonly DiscoItem[] | undefined>
}
