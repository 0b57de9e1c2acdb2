/** The archives of entities, such as rooms (XEP-0313 §5.2): each entity decides who may read its own. */
import {
  addressed, errorReply, follow, fromOctets, NS, stanza, StanzaError, StorageUnavailable, storingOf, toOctets, xml,
} from '../../lib/api.js'
import type {
  Addressed, ArchivedMessage, ArchiveRules, Batch, Element, EntityArchive, EntityArchives, Entry, Jid, Journal,
  Maybe, Message, ModuleHost, Request, RequestsToEntities,
} from '../../lib/api.js'
import { metadata, readAsked, readPage, tooSlow, type Asked } from './answering.js'
import { preferencesElement, wishFor } from './preferences.js'
import { queryForm, resultStanzas } from './query.js'
import type { Retention } from './retention.js'
import { aliasOf, versionsIn } from './retraction.js'
import { wishIn, type Wishes } from './wishes.js'
import { textIn } from './worth.js'

/** The most requests of one user that are under way, and of all users of a host: each may hold a page in memory. */
const MOST_OF_USER = 8
const MOST = 128

/** The features of an entity with an archive. */
const FEATURES = [NS.MAM, NS.MAM_EXTENDED, NS.STANZA_ID, NS.FULLTEXT]

/** The dependencies of ArchivesOfEntities. */
export interface EntityArchivesDeps {
  readonly messages: Journal<string>
  readonly wishes: Wishes
  readonly retention: Retention
  /** The most messages of a page. */
  readonly pageSize: number
}

/** The archives of all entities of a host. */
export class ArchivesOfEntities implements EntityArchives {
  readonly #host: ModuleHost
  readonly #parts: EntityArchivesDeps
  /** The requests that are under way, by the bare address of their sender. */
  readonly #open = new Map<string, number>()
  #count = 0

  constructor (host: ModuleHost, parts: EntityArchivesDeps) {
    this.#host = host
    this.#parts = parts
  }

  serve<E> (table: RequestsToEntities<E>, rules: ArchiveRules<E>): EntityArchive {
    this.#answer(table, rules)
    if (rules.change !== undefined) this.#answerPreferences(table, rules.change)
    return {
      features: FEATURES,
      add: (address, message, batch) => this.#add(address, message, batch),
      last: (address, limit) => this.#last(address, limit),
      find: (address, id) => this.#find(address, id),
      versions: (address, messageId) => this.#versions(address, messageId),
      replace: (address, id, tombstone, batch) => {
        batch.add(this.#parts.messages.replacing(address.toString(), id, valueOf(tombstone)))
      },
      clear: (address, batch) => {
        batch.add(this.#parts.messages.clearing(address.toString()))
        this.#parts.wishes.clear(address, batch)
      },
    }
  }

  // ---- Writing --------------------------------------------------------------------------------------------------

  #add (address: Jid, message: Message, batch: Batch): Maybe<Message> {
    if (!isWorth(message)) return message
    return follow(this.#parts.wishes.of(address), wishes => {
      // An entity has no roster: what is undecided is kept.
      if (wishFor(wishes, message.from) === 'leave') return message
      const id = this.#host.ids.next()
      this.#append(id, address, message, batch)
      const stanzaId = xml('stanza-id', { xmlns: NS.STANZA_ID, by: address.toString(), id })
      return addressed(message.with({ plus: [stanzaId] }), message.to)
    })
  }

  #append (id: string, address: Jid, message: Message, batch: Batch): void {
    const { messages, retention } = this.#parts
    const owner = address.toString()
    // The time is that of the commit, so that a client that pages by time does not miss a message that waited (§4.1.2).
    batch.submitting(() => {
      batch.add(messages.appending(owner, {
        id, at: this.#host.clock.now(), with: message.from.toString(), value: valueOf(message),
        ...aliasOf(message), ...textIn(message),
      }))
    })
    retention.grew(owner)
  }

  async #last (address: Jid, limit: number): Promise<readonly ArchivedMessage[]> {
    const { entries } = await this.#parts.messages.page(address.toString(), { limit, last: true })
    return entries.map(archivedIn)
  }

  async #find (address: Jid, id: string): Promise<ArchivedMessage | undefined> {
    const { entries: [entry] } = await this.#parts.messages.page(address.toString(), { ids: [id], limit: 1 })
    return entry === undefined ? undefined : archivedIn(entry)
  }

  async * #versions (address: Jid, messageId: string): AsyncIterable<readonly ArchivedMessage[]> {
    const versions = { owner: address.toString(), from: address, id: messageId }
    for await (const page of versionsIn(this.#parts.messages, versions)) yield page.map(archivedIn)
  }

  // ---- Requests -------------------------------------------------------------------------------------------------

  #answer<E> (table: RequestsToEntities<E>, { read }: ArchiveRules<E>): void {
    const { messages } = this.#parts
    table.get(NS.MAM, 'query', (entity, { stanza: { from } }) => follow(read(entity, from), () => queryForm()))

    table.set(NS.MAM, 'query', (entity, request) => follow(read(entity, request.stanza.from), () => {
      const asked = readAsked(request.payload)
      return this.#later(request, () => this.#sendPage(request, asked))
    }))

    table.get(NS.MAM, 'metadata', (entity, request) => follow(read(entity, request.stanza.from), () =>
      this.#later(request, async () => {
        this.#send(resultOf(request.stanza, await metadata(this.#host, messages, request.stanza.to.bare)))
      })))
  }

  /** Sends a page; the result of the request is its last piece. */
  async #sendPage ({ stanza: iq, session, payer }: Request, asked: Asked): Promise<void> {
    const { messages, pageSize } = this.#parts
    const { from, to: { bare } } = iq
    const charge = (units: number): void => { payer?.charge(units, from) }
    const { shown, fin } = await readPage(this.#host, messages, pageSize, asked, bare, charge)
    const pieces = function * (): Generator<Addressed> {
      yield * resultStanzas(shown, bare, from, asked.id)
      yield resultOf(iq, fin)
    }
    if (!await this.#host.outlet(bare).draw(session ?? from, pieces())) throw tooSlow()
  }

  /** XEP-0441: whoever may change the preferences of the archive also sees them. */
  #answerPreferences<E> (table: RequestsToEntities<E>, change: NonNullable<ArchiveRules<E>['change']>): void {
    const { wishes } = this.#parts
    table.get(NS.MAM, 'prefs', (entity, { stanza: { from, to } }) =>
      follow(change(entity, from), () => follow(wishes.of(to.bare), preferencesElement)))
    table.set(NS.MAM, 'prefs', (entity, { stanza: { from, to }, payload, batch }) =>
      follow(change(entity, from), () => follow(wishIn(this.#host, payload), wanted => {
        wishes.set(to.bare, wanted, batch)
        return preferencesElement(wanted)
      })))
  }

  /**
   * Lets `work` answer a request after the entity has gone on: a page waits for messages that are not stored yet, and
   * for a reader who may be slow. Throws resource-constraint if too many requests are under way.
   */
  #later ({ stanza: iq, batch }: Request, work: () => Promise<void>): 'later' {
    const who = iq.from.bare.toString()
    const mine = this.#open.get(who) ?? 0
    if (mine >= MOST_OF_USER || this.#count >= MOST) {
      throw new StanzaError('resource-constraint', 'too many requests to archives are under way', { type: 'wait' })
    }
    this.#open.set(who, mine + 1)
    this.#count++
    const end = (): void => { this.#leave(who) }
    batch.failed(end)
    batch.committed(() => {
      void work().catch((error: unknown) => { this.#send(errorReply(iq, this.#errorOf(error))) }).finally(end)
    })
    return 'later'
  }

  #leave (who: string): void {
    const left = (this.#open.get(who) ?? 1) - 1
    if (left > 0) this.#open.set(who, left)
    else this.#open.delete(who)
    this.#count--
  }

  #send (answer: Addressed): void { this.#host.outlet(answer.from.bare).send(answer) }

  #errorOf (error: unknown): StanzaError {
    if (error instanceof StanzaError) return error
    if (error instanceof StorageUnavailable) return new StanzaError('resource-constraint', 'try again later', { type: 'wait' })
    this.#host.log.error('archive request failed', { error })
    return new StanzaError('internal-server-error')
  }
}

function archivedIn ({ id, at, with: from, value }: Entry<string>): ArchivedMessage {
  return { id, at, from, octets: toOctets(value) }
}

/** The stored form of a message, without its recipient: it is sent to many. */
function valueOf (message: Message): string {
  const { head, tail } = message.frame()
  return fromOctets(head + tail)
}

/** Returns the result of a request, with its payload. */
function resultOf ({ id, from, to }: Addressed<'iq'>, payload: Element): Addressed {
  return stanza(xml('iq', { type: 'result', id }, payload), to, from)
}

/** XEP-0313 §5.2, XEP-0334 §4: content is kept, and what the sender asks to keep; an archive is a permanent store. */
function isWorth (message: Message): boolean {
  if (message.type === 'error') return false
  const { noStore, noPermanentStore, store, isResult, holds } = storingOf(message)
  return !noStore && !noPermanentStore && !isResult && (store || holds === 'content')
}
