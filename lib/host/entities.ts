/** The loaded entities of one host: loaded when needed, unloaded when idle, bounded in number and bytes. */
import type { Clock, Timer } from '../base/clock.js'
import type { Logger } from '../base/logger.js'
import { follow, type Maybe } from '../base/maybe.js'
import { Named } from '../base/slot.js'
import { PendingBatch } from '../storage/batch.js'
import type { Batch } from '../storage/store.js'
import { BACKLOG } from '../stream/bounds.js'
import { StanzaError } from '../xmpp/errors.js'
import type { Element } from '../xml/element.js'
import type { Jid } from '../xmpp/jid.js'
import { isAddressed, isPresence, type Addressed } from '../xmpp/stanza.js'
import type { EntityBehaviour, EntityKind, Loading, ToEntity } from './entity.js'
import { KindAtHost, type LoadedEntity } from './loaded-entity.js'

/** The parts of the host that its entities use. */
export interface EntitiesHome {
  readonly clock: Clock
  readonly log: Logger
  /** Runs `work` after all that came for the address is stored. Later stanzas to it wait until the work ends. */
  turn (address: Jid, work: () => Promise<void>): void
  commit (batch: PendingBatch): Promise<void>
  readonly settings: { readonly entities?: EntityBounds | undefined }
}

/** After this time without a stanza an entity is unloaded, in milliseconds. */
const IDLE = 5 * 60_000
/** How many entities are saved at a time. */
const AT_ONCE = 100
/** How long the end of a kind waits for the turns of its entities, in milliseconds. */
const LAST_WAIT = 5000
/** How many entities are tried, one after the other, to make room for another. */
const TRIES = 8

/** The most entities of a host that are loaded at a time, and the most bytes that they take together. */
export interface EntityBounds { readonly most?: number | undefined, readonly bytes?: number | undefined }

/** The bounds of a host whose settings name none. */
const BOUNDS = { most: 20_000, bytes: 16 * BACKLOG }

/** A kind of entities, as this table uses it. */
interface Loader {
  readonly behaviour: { returned? (presence: Addressed<'presence'>): Element | undefined } | undefined
  load (address: Jid, loading: Loading): Maybe<LoadedEntity | undefined>
}

export class Entities {
  readonly #home: EntitiesHome
  /** Kinds by name. They stay while their module is replaced. */
  readonly #known = new Named()
  /** The kinds that can be loaded, in the order in which they are asked. */
  readonly #kinds: Loader[] = []
  /** By address. The entity that was not used for the longest time is the first. */
  readonly #loaded = new Map<string, LoadedEntity>()
  /** Entities that are being loaded. */
  #loading = 0
  #bytes = 0
  #timer: Timer | undefined
  #isSweeping = false
  #isOver = false

  constructor (home: EntitiesHome) { this.#home = home }

  get size (): number { return this.#loaded.size }
  get bytes (): number { return this.#bytes }
  get #bounds (): typeof BOUNDS {
    const { most = BOUNDS.most, bytes = BOUNDS.bytes } = this.#home.settings.entities ?? BOUNDS
    return { most, bytes }
  }

  // ---- Kinds ------------------------------------------------------------------------------------------------

  /** Returns a kind of entities, with what is loaded of it. */
  kind<E> (kind: EntityKind<E>): KindAtHost<E> {
    return this.#known.made<KindAtHost<E>>({ name: kind.name }, () => new KindAtHost<E>(kind.name))
  }

  /** Lets entities of a kind be loaded, with this behaviour. Returns a function that ends that. */
  add<E> (kind: KindAtHost<E>, behaviour: EntityBehaviour<E>): () => void {
    if (this.#kinds.includes(kind)) throw new Error(`two modules have entities of the kind '${kind.name}'`)
    kind.behaviour = behaviour
    this.#kinds.push(kind)
    return () => { this.#kinds.splice(this.#kinds.indexOf(kind), 1) }
  }

  /**
   * Saves and unloads all entities of a kind that has ended, also busy ones. One whose turn does not come in time is
   * not saved.
   */
  async unload<E> (kind: KindAtHost<E>): Promise<void> {
    if (this.#kinds.includes(kind)) return
    let timer: Timer | undefined
    const late = new Promise<void>(resolve => { timer = this.#home.clock.after(LAST_WAIT, resolve) })
    await Promise.race([this.#unloadAll([...kind.loaded.values()]), late])
    timer?.cancel()
    for (const entity of kind.loaded.values()) this.#drop(entity)
  }

  async #unloadAll (all: readonly LoadedEntity[]): Promise<void> {
    for (let i = 0; i < all.length; i += AT_ONCE) {
      await Promise.all(all.slice(i, i + AT_ONCE).map(entity => this.#unload(entity, true)))
    }
  }

  /** Forgets an entity without saving it: it does not exist any more, or was never stored. */
  forget (address: Jid): void {
    const entity = this.#loaded.get(address.bare.toString())
    if (entity !== undefined) this.#drop(entity)
  }

  /** Returns what the error reply to a stanza holds besides the error, whether its entity is loaded or not. */
  returned (stanza: Addressed): Element | undefined {
    if (!isPresence(stanza) || !isAddressed(stanza)) return undefined
    for (const { behaviour } of this.#kinds) {
      const element = behaviour?.returned?.(stanza)
      if (element !== undefined) return element
    }
    return undefined
  }

  // ---- Stanzas ----------------------------------------------------------------------------------------------

  /**
   * Returns the entity that a stanza is for, loaded; undefined if there is none. It stays loaded until `release`. Call
   * this in the lane of the address. Throws resource-constraint if there is no room for one more.
   */
  use (arrival: ToEntity): Maybe<LoadedEntity | undefined> { return this.#use(arrival.stanza.to.bare, arrival) }

  /** Runs `work` with an entity of this kind in its turn: see `EntityTable.with`. */
  with<E, T> (
    kind: KindAtHost<E>, address: Jid, work: (entity: E, batch: Batch) => Maybe<T>,
  ): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      this.#home.turn(address.bare, () => this.#work(kind, address.bare, work).then(resolve, reject))
    })
  }

  async #work<E, T> (
    kind: KindAtHost<E>, address: Jid, work: (entity: E, batch: Batch) => Maybe<T>,
  ): Promise<T | undefined> {
    const batch = new PendingBatch()
    const loaded = await this.#use(address, { stanza: undefined, session: undefined, payer: undefined, batch })
    if (loaded === undefined) return undefined
    try {
      const entity = kind.of(address)
      const result = entity === undefined ? undefined : await work(entity, batch)
      await this.#home.commit(batch)
      return result
    } catch (error) {
      batch.fail(error instanceof Error ? error : new Error(String(error)))
      throw error
    } finally {
      this.release(loaded)
    }
  }

  #use (address: Jid, loading: Loading): Maybe<LoadedEntity | undefined> {
    const known = this.#loaded.get(address.toString())
    if (known !== undefined) return this.#taken(known)
    if (this.#hasRoom) return this.#load(address, loading)
    return this.#makeRoom().then(() => this.#load(address, loading))
  }

  /** Ends a use of an entity. */
  release (entity: LoadedEntity): void {
    entity.uses--
    if (this.#loaded.get(entity.key) !== entity) return
    this.#touch(entity)
    const bytes = entity.measure()
    this.#bytes += bytes - entity.bytes
    entity.bytes = bytes
    if (this.#bytes > this.#bounds.bytes) void this.#unloadOne()
  }

  /** Ends the host: nothing is unloaded by time any more. */
  end (): void {
    this.#isOver = true
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #taken (entity: LoadedEntity): LoadedEntity {
    entity.uses++
    this.#touch(entity)
    return entity
  }

  /** Makes an entity the last that was used. */
  #touch (entity: LoadedEntity): void {
    entity.at = this.#home.clock.now()
    this.#loaded.delete(entity.key)
    this.#loaded.set(entity.key, entity)
  }

  #load (address: Jid, loading: Loading): Maybe<LoadedEntity | undefined> {
    this.#loading++
    let found: Maybe<LoadedEntity | undefined>
    try {
      found = this.#ask(0, address, loading)
    } catch (error) {
      this.#loading--
      throw error
    }
    if (found instanceof Promise) return found.finally(() => { this.#loading-- }).then(entity => this.#came(entity))
    this.#loading--
    return this.#came(found)
  }

  /** Asks the kinds, one after the other, for the entity. */
  #ask (index: number, address: Jid, loading: Loading): Maybe<LoadedEntity | undefined> {
    const kind = this.#kinds[index]
    if (kind === undefined) return undefined
    return follow(kind.load(address, loading), found => found ?? this.#ask(index + 1, address, loading))
  }

  #came (entity: LoadedEntity | undefined): LoadedEntity | undefined {
    if (entity === undefined) return undefined
    entity.bytes = entity.measure()
    this.#bytes += entity.bytes
    entity.enter()
    const taken = this.#taken(entity)
    this.#arm()
    return taken
  }

  // ---- Unloading --------------------------------------------------------------------------------------------

  get #hasRoom (): boolean {
    return this.#loaded.size + this.#loading < this.#bounds.most && this.#bytes < this.#bounds.bytes
  }

  async #makeRoom (): Promise<void> {
    for (let tries = 0; !this.#hasRoom; tries++) {
      if (tries === TRIES || !await this.#unloadOne()) {
        throw new StanzaError('resource-constraint', 'too many rooms or nodes are in use', { type: 'wait' })
      }
    }
  }

  /** Unloads the entity that was not used for the longest time. Resolves with false if all are in use. */
  async #unloadOne (): Promise<boolean> {
    let leaving: Promise<void> | undefined
    for (const entity of this.#loaded.values()) {
      if (entity.isIdle) {
        await this.#unload(entity)
        return true
      }
      leaving ??= entity.leaving
    }
    await leaving
    return leaving !== undefined
  }

  /** Saves and unloads an entity in its turn, unless it is in use then. `isLast`: the kind ends. Never rejects. */
  #unload (entity: LoadedEntity, isLast = false): Promise<void> {
    if (entity.leaving !== undefined && !isLast) return entity.leaving
    return entity.leaving = new Promise(resolve => {
      this.#home.turn(entity.address, async () => {
        try {
          if (this.#loaded.get(entity.key) === entity && (isLast || entity.isUnused)) await this.#save(entity)
        } finally {
          entity.leaving = undefined
          resolve()
        }
      })
    })
  }

  async #save (entity: LoadedEntity): Promise<void> {
    const batch = new PendingBatch()
    try {
      await entity.save(batch)
      await this.#home.commit(batch)
    } catch (error) {
      this.#home.log.warn('entity not saved', { entity: entity.key, kind: entity.kind, error })
      this.#touch(entity) // tried again when it has been idle for as long again
      return
    }
    this.#drop(entity)
  }

  #drop (entity: LoadedEntity): void {
    if (this.#loaded.get(entity.key) === entity) {
      this.#loaded.delete(entity.key)
      this.#bytes -= entity.bytes
    }
    entity.leave()
    if (this.#loaded.size === 0) {
      this.#timer?.cancel()
      this.#timer = undefined
    }
  }

  /** Sets the time at which the next entity is unloaded. */
  #arm (): void {
    const [first] = this.#loaded.values()
    if (first === undefined || this.#isOver || this.#isSweeping || this.#timer !== undefined) return
    const { clock } = this.#home
    this.#timer = clock.after(Math.max(1, first.at + IDLE - clock.now()), () => { void this.#sweep() })
  }

  /** Unloads the entities that are idle, a few at a time. */
  async #sweep (): Promise<void> {
    this.#timer = undefined
    this.#isSweeping = true
    for (let due = this.#due(); due.length > 0 && !this.#isOver; due = this.#due()) {
      await Promise.all(due.map(entity => this.#unload(entity)))
    }
    this.#isSweeping = false
    this.#arm()
  }

  #due (): readonly LoadedEntity[] {
    const due: LoadedEntity[] = []
    const before = this.#home.clock.now() - IDLE
    for (const entity of this.#loaded.values()) {
      if (entity.at > before || due.length === AT_ONCE) break
      if (entity.isIdle) due.push(entity)
      else this.#touch(entity)
    }
    return due
  }
}
