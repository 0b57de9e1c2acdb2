/** One loaded entity, and its kind at one host. */
import { follow, type Maybe } from '../base/maybe.js'
import type { Batch } from '../storage/store.js'
import type { Jid } from '../xmpp/jid.js'
import type { DiscoInfo, DiscoItem } from './disco.js'
import type { Entity, EntityBehaviour, Loading, ToEntity } from './entity.js'

/** A loaded entity, as the steps and the table of the host see it. */
export interface LoadedEntity extends Entity {
  /** The address as a text. */
  readonly key: string
  /** How many stanzas use the entity now. */
  uses: number
  /** When it was used last, in milliseconds since 1970. */
  at: number
  /** The bytes that are counted for it. */
  bytes: number
  /** Resolves when it is unloaded, or is not unloaded after all. Set while that is under way. */
  leaving: Promise<void> | undefined
  /** True if no stanza uses it and its module lets it go. */
  readonly isUnused: boolean
  /** True if it is unused and not leaving. */
  readonly isIdle: boolean
  /** Returns the bytes that it takes now. */
  measure (): number
  /** Enters the table of its kind. */
  enter (): void
  /** Leaves the table of its kind. */
  leave (): void
  save (batch: Batch): Maybe<void>
  /** Takes a message; undefined if entities of this kind take none. */
  message (arrival: ToEntity<'message'>): Maybe<'taken' | undefined>
  presence (arrival: ToEntity<'presence'>): Maybe<void>
  iq (arrival: ToEntity<'iq'>): Maybe<'handled' | undefined | void>
}

/** A kind of entities at one host. It stays while its module is replaced by a reload. */
export class KindAtHost<E> {
  readonly name: string
  readonly loaded = new Map<string, EntityOfKind<E>>()
  behaviour: EntityBehaviour<E> | undefined

  constructor (name: string) { this.name = name }

  /** Returns the value of a loaded entity; undefined if it is not loaded. */
  of (address: Jid): E | undefined { return this.loaded.get(address.bare.toString())?.value }

  load (address: Jid, loading: Loading): Maybe<EntityOfKind<E> | undefined> {
    return follow(this.behaviour?.load(address, loading), value =>
      value === undefined ? undefined : new EntityOfKind(this, address, value))
  }
}

class EntityOfKind<E> implements LoadedEntity {
  readonly address: Jid
  readonly key: string
  readonly value: E
  uses = 0
  at = 0
  bytes = 0
  leaving: Promise<void> | undefined
  readonly #kind: KindAtHost<E>

  constructor (kind: KindAtHost<E>, address: Jid, value: E) {
    this.#kind = kind
    this.address = address
    this.key = address.toString()
    this.value = value
  }

  get kind (): string { return this.#kind.name }
  get isUnused (): boolean { return this.uses === 0 && this.#does?.isBusy?.(this.value) !== true }
  get isIdle (): boolean { return this.leaving === undefined && this.isUnused }
  get #does (): EntityBehaviour<E> | undefined { return this.#kind.behaviour }

  measure (): number { return this.#does?.bytes(this.value) ?? 0 }
  enter (): void { this.#kind.loaded.set(this.key, this) }
  leave (): void { if (this.#kind.loaded.get(this.key) === this) this.#kind.loaded.delete(this.key) }
  save (batch: Batch): Maybe<void> { return this.#does?.save?.(this.value, this.address, batch) }

  message (arrival: ToEntity<'message'>): Maybe<'taken' | undefined> {
    const does = this.#does
    return does?.message === undefined ? undefined : follow(does.message(this.value, arrival), () => 'taken')
  }

  presence (arrival: ToEntity<'presence'>): Maybe<void> { return this.#does?.presence?.(this.value, arrival) }
  iq (arrival: ToEntity<'iq'>): Maybe<'handled' | undefined | void> { return this.#does?.iq?.(this.value, arrival) }

  info (node: string | undefined, asker: Jid): Maybe<DiscoInfo | undefined> {
    return this.#does?.info(this.value, node, asker)
  }

  items (node: string | undefined, asker: Jid): Maybe<readonly DiscoItem[] | undefined> {
    const does = this.#does
    if (does?.items !== undefined) return does.items(this.value, node, asker)
    return node === undefined ? [] : undefined
  }
}
