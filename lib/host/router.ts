/** The router: a local account, a local service, or another server. The one place where errors become replies. */
import { follow, type Maybe } from '../base/maybe.js'
import type { Logger } from '../base/logger.js'
import type { Turns } from '../base/turns.js'
import { PendingBatch } from '../storage/batch.js'
import { Unreadable } from '../storage/aside.js'
import { StorageUnavailable, type Storage } from '../storage/store.js'
import { Traffic } from '../stream/traffic.js'
import { StanzaError, StreamError } from '../xmpp/errors.js'
import { errorReply, isAddressed, type Addressed, type Stanza } from '../xmpp/stanza.js'
import type { Arrival } from './arrivals.js'
import type { Payer } from './cost.js'
import type { ReleaseOrder } from './order.js'
import type { Session } from './session.js'

/** One stanza's way: whose order it keeps, and what it commits. */
export interface Passage {
  readonly session: Session | undefined
  /** Who pays for what it costs, if that is no session. */
  readonly payer?: Payer | undefined
  /** Of the stream of another server that it came on. */
  readonly order?: ReleaseOrder | undefined
  batch: PendingBatch
  /** Its place among the stanzas of its stream, where those are counted. */
  arrival?: Arrival | undefined
  /** It has been settled, or has failed. */
  ended?: boolean
  /** It waits behind others for the same account. */
  isWaiting?: boolean
  /** The batch is submitted, or has failed. */
  isOver?: boolean
  /** Told of that. */
  over?: () => void
  /** It waits for its recipient's account, and holds up its sender for a second at most. */
  transfer?: Arrival & { finish (): Promise<void> | undefined }
  /** Its sender has been told that it cannot be stored, or it is stored for the next start: here it goes no further. */
  isDropped?: boolean
  /** When it came, in milliseconds since 1970, if a start has found it stored. */
  readonly at?: number
}

/** What stands behind a domain of this server. */
export interface Destination {
  /** Takes a stanza to its recipients. Errors are thrown, at once or in the promise. */
  deliver (stanza: Addressed, passage: Passage): Maybe<void>
  /** Told of each error that was made for a stanza. */
  bounced (stanza: Addressed, error: StanzaError): void
}

/** Until there is another: nobody is found elsewhere (RFC 6120 §8.3.3.15). */
const nowhere: Destination = {
  deliver () { throw new StanzaError('remote-server-not-found') },
  bounced () {},
}

/** Routing waits for nobody: what must wait (disk, another server) has its own queue. */
export class Router {
  readonly storage: Storage
  /** What has come and gone since the start. */
  readonly traffic = new Traffic()
  /** Shares the event loop among all who read stanzas; undefined in tests, where a stanza is taken in the turn in which it comes. */
  readonly turns: Turns | undefined
  readonly #log: Logger
  readonly #destinations = new Map<string, Destination>()
  /** What takes stanzas for domains that are not ours. */
  remote: Destination = nowhere

  constructor (storage: Storage, log: Logger, turns?: Turns) {
    this.storage = storage
    this.turns = turns
    this.#log = log
  }

  add (domain: string, destination: Destination): void { this.#destinations.set(domain, destination) }
  remove (domain: string): void { this.#destinations.delete(domain) }
  /** Whether stanzas to this domain stay on this server. */
  serves (domain: string): boolean { return this.#destinations.has(domain) }

  /** Sends a stanza of the server's own on its way. */
  route (stanza: Addressed): void {
    const passage: Passage = { session: undefined, batch: new PendingBatch() }
    void this.guard(stanza, passage, () => this.pass(stanza, passage))
  }

  /** The same inside a passage that has begun: errors are the caller's. */
  pass (stanza: Addressed, passage: Passage): Maybe<void> {
    return (this.#destinations.get(stanza.to.domain) ?? this.remote).deliver(stanza, passage)
  }

  /** Runs what a stanza asks for, and answers each error. A StreamError goes on to the stream. */
  guard (stanza: Stanza, passage: Passage, work: () => Maybe<void>): Maybe<void> {
    try {
      const wait = work()
      return wait instanceof Promise ? wait.catch((error: unknown) => { this.fail(stanza, passage, error) }) : undefined
    } catch (error) {
      this.fail(stanza, passage, error)
      return undefined
    }
  }

  /** Commits what the passage holds; runs `then` once it is stored, behind what its session released before. */
  settle (stanza: Stanza, passage: Passage, then: () => void): void {
    passage.ended = true
    if (passage.arrival === undefined) this.#submit(stanza, passage, then)
    else passage.arrival.settle(() => { this.#submit(stanza, passage, then) })
  }

  /** Settles what nobody else has: it was for nobody, or nothing is said to it. */
  close (stanza: Stanza, passage: Passage): void {
    if (passage.ended !== true && passage.isWaiting !== true) this.settle(stanza, passage, () => {})
  }

  /** Never throws: what goes wrong here is this stanza's alone, and not of the one whose turn brought it here. */
  #submit (stanza: Stanza, passage: Passage, then: () => void): void {
    const { session, order, batch } = passage
    let number: number
    try {
      batch.complete()
      if (passage.arrival !== undefined) session?.manager?.settling(batch, batch.writes.length === 0)
      number = batch.submit(this.storage)
    } catch (error) {
      this.fail(stanza, passage, error)
      return
    }
    leaves(passage)
    const stored = (error: Error | undefined): void => {
      if (error !== undefined) this.fail(stanza, passage, later(error))
      else this.#stored(stanza, passage, then)
    }
    const keeper = session ?? order
    if (keeper !== undefined) keeper.release(number, stored)
    else if (number === 0) stored(undefined)
    else this.storage.after(number, stored)
  }

  /** The batch is stored: whatever one of those who waited for that throws, the others have it. */
  #stored (stanza: Stanza, passage: Passage, then: () => void): void {
    const { batch } = passage
    batch.stored()
    try {
      try {
        batch.answer()
        then()
      } finally {
        batch.done()
      }
    } catch (error) {
      this.fail(stanza, passage, error)
    }
  }

  /** Hands a reply to the one who asked: straight to a session of ours, whatever it blocks. */
  reply (reply: Addressed, passage: Passage): void {
    const { session } = passage
    if (session === undefined) this.route(reply)
    else session.send(reply)
  }

  /**
   * Answers a stanza with an error, as far as it may be answered (RFC 6120 §8.3.1, §8.2.3). Unless its batch is stored already, nothing of
   * it ever is: places in outgoing orders are given back, and caches forget what they had of it. Never throws.
   */
  fail (stanza: Stanza, passage: Passage, thrown: unknown): void {
    passage.ended = true
    this.#giveBack(passage.batch, thrown)
    leaves(passage)
    passage.arrival?.settle(() => {})
    if (passage.isDropped === true) return
    if (thrown instanceof StreamError) {
      if (passage.session === undefined) this.#defect(stanza, thrown)
      passage.session?.close(thrown)
      return
    }
    const error = thrown instanceof StanzaError ? thrown : this.#unforeseen(stanza, thrown)
    if (isAddressed(stanza)) this.#destinations.get(stanza.from.domain)?.bounced(stanza, error)
    if (stanza.type === 'error' || stanza.kind === 'iq' && stanza.type === 'result') return
    const { session } = passage
    if (session === undefined) this.#answer(stanza, passage, error)
    else session.release(0, () => { this.#answer(stanza, passage, error) })
  }

  #giveBack (batch: PendingBatch, thrown: unknown): void {
    try {
      batch.fail(thrown instanceof Error ? thrown : new Error(String(thrown)))
    } catch (error) {
      this.#log.error('batch not given back', { error })
    }
  }

  #answer (stanza: Stanza, passage: Passage, error: StanzaError): void {
    try {
      this.reply(errorReply(stanza, error), passage)
    } catch (thrown) {
      this.#defect(stanza, thrown)
    }
  }

  #unforeseen (stanza: Stanza, thrown: unknown): StanzaError {
    // Told once where it was read (lib/storage/aside.ts), and not for each stanza.
    if (thrown instanceof Unreadable) return new StanzaError('internal-server-error', undefined, { cause: thrown })
    return thrown instanceof StorageUnavailable ? later(thrown) : this.#defect(stanza, thrown)
  }

  /** What nobody foresaw is logged once; the stranger learns nothing of our inside. */
  #defect (stanza: Stanza, thrown: unknown): StanzaError {
    this.#log.error('stanza failed', { kind: stanza.kind, type: stanza.type, from: stanza.from.toString(), to: stanza.to?.toString(), error: thrown })
    return new StanzaError('internal-server-error', undefined, { cause: thrown })
  }
}

/** Marks a passage that is submitted, or never will be. */
function leaves (passage: Passage): void {
  passage.isOver = true
  passage.over?.()
}

/** What is asked for cannot be stored, or read, for now. */
function later (cause: Error): StanzaError {
  return new StanzaError('resource-constraint', 'try again later', { type: 'wait', cause })
}

/** Goes on with `next` unless a hook has said that the stanza is handled. */
export function unlessHandled (verdict: Maybe<'handled' | undefined>, next: () => Maybe<void>, handled: () => void): Maybe<void> {
  return follow(verdict, verdict => {
    if (verdict === 'handled') { handled(); return undefined }
    return next()
  })
}
