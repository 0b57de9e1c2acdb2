/** Passage: one stanza on its way through the server. A list of steps leads it to its end (steps.ts). */
import type { HandlerPlace } from '../../base/hook.js'
import type { Maybe } from '../../base/maybe.js'
import { PendingBatch } from '../../storage/batch.js'
import type { Element } from '../../xml/element.js'
import type { StreamError } from '../../xmpp/errors.js'
import type { Jid } from '../../xmpp/jid.js'
import { isAddressed, isIq, isMessage, isPresence } from '../../xmpp/stanza.js'
import type { Addressed, Iq, Message, Stanza } from '../../xmpp/stanza.js'
import type { Arrival } from '../arrivals.js'
import type { Payer } from '../cost.js'
import type { MessageAddressed } from '../events.js'
import type { Answering } from '../iq.js'
import type { LoadedEntity } from '../loaded-entity.js'
import type { ReleaseOrder } from '../order.js'
import type { Session } from '../session.js'

/** Who got a stanza. */
export interface Recipient { readonly jid: Jid }

/**
 * The answer of a step. 'next': the next step runs. 'to': the steps of this destination run. All others end
 * the way, and the stanza is settled: 'handled' says by whom or why; 'delivered' to whom it goes after the commit;
 * 'kept': it is stored until a device comes; 'answered': the request has this result; 'ends': the stream it came on
 * must end. A StanzaError that a step throws becomes the error reply (reply.ts).
 */
export type Outcome =
  | { readonly go: 'next' }
  | { readonly go: 'to', readonly where: Onward }
  | { readonly go: 'handled', readonly by: string | HandlerPlace }
  | { readonly go: 'delivered', readonly to: readonly Recipient[] }
  | { readonly go: 'kept' }
  | { readonly go: 'answered', readonly reply: Addressed<'iq'> }
  | { readonly go: 'ends', readonly error: StreamError }

/** An outcome that settles a stanza. */
export type Settled = Exclude<Outcome, { readonly go: 'next' | 'to' | 'ends' }>

export const NEXT: Outcome = { go: 'next' }

/** Returns the outcome of a stanza that needs nothing more. `by`: the reason, for the log and for a trace. */
export function handled (by: string | HandlerPlace): Settled { return { go: 'handled', by } }

/** Returns the outcome of a hook: `by` is the handler that handled the stanza, if one did. */
export function unlessHandled (by: HandlerPlace | undefined): Outcome { return by === undefined ? NEXT : handled(by) }

/** One step on the way. `home` is the part of the server that the steps of its list use. */
export type Step<H> = (passage: Passage, home: H) => Maybe<Outcome>

/** Runs steps until one of them ends the way. */
export interface Runner {
  run<H> (passage: Passage, steps: readonly Step<H>[], home: H): Maybe<void>
}

/** The destination of a stanza: it has steps of its own. */
export interface Onward {
  /** The name for the log and for a trace. */
  readonly place: string
  accept (passage: Passage, runner: Runner): Maybe<void>
}

/** The stream from another server that a stanza came on. */
export interface Peer extends Payer {
  /** The order in which its stanzas are released. */
  readonly order: ReleaseOrder
}

/** Tells who waits while a step of a stanza waits. Without it, the next stanzas of the sender do. */
export interface Hold {
  /** Called when a step waits. `rest` resolves when the stanza is settled. The sender waits for the result. */
  waits (passage: Passage, rest: Promise<void>): Maybe<void>
  /** Called when a stanza is ready to be settled, but its turn among its sender's stanzas has not come. */
  lags (passage: Passage): void
}

/** A stanza between the commits of its two sides (transfer.ts). */
export interface Transit {
  /** True if the stanza is not delivered: its sender has got an error, or it is stored for the next start. */
  readonly isDropped: boolean
  /** Called when the steps have ended. Later stanzas to the same recipient may go on after this resolves. */
  finish (): Promise<void> | undefined
}

/** The place of a stanza among those of its stream. `refuse`: called if the stanza ends the stream. */
export interface Place extends Arrival { refuse? (): void }

/**
 * 'received': its steps run, and the sender's next stanzas wait for them. 'waiting': a step waits, and the sender's
 * next stanzas go on. 'ready': the outcome is known, and the turn among the sender's stanzas has not come. 'settled':
 * its batch is submitted, or never will be.
 */
export type Stage = 'received' | 'waiting' | 'ready' | 'settled'

/** Where a stanza comes from. At most one of `session` and `peer` is there; the server's own stanzas have none. */
export interface Origin {
  readonly session?: Session | undefined
  readonly peer?: Peer | undefined
  readonly arrival?: Place | undefined
  /** The time of its arrival, in milliseconds since 1970, if it was found stored at the start. */
  readonly at?: number | undefined
  readonly transit?: Transit | undefined
}

const NOBODY: readonly Session[] = []
let last = 0

export class Passage {
  /** The number of the stanza since the start of the process. */
  readonly number: number
  /** The stanza as the last step left it. */
  stanza: Stanza
  readonly session: Session | undefined
  readonly peer: Peer | undefined
  readonly at: number | undefined
  /** The writes of the stanza. In the lane of its recipient it is the recipient's side (`PendingBatch.divide`). */
  batch: PendingBatch
  /** The place among the stanzas of the sender's stream, if they are counted or must wait. */
  arrival: Place | undefined
  stage: Stage
  hold: Hold | undefined
  transit: Transit | undefined
  /** Resolves when the stanza has left the lane of its recipient. Set while it waits. */
  gone: Promise<void> | undefined
  /** The sessions that a stanza to an account is for. */
  recipients: readonly Session[]
  /** The message with its recipients, as `messageAddressed` has left it. */
  chosen: MessageAddressed | undefined
  /** The payload of a request, and the handler that answers it. */
  payload: Element | undefined
  answering: Answering | undefined
  /** The entity that the stanza is for, while it is loaded for it. */
  entity: LoadedEntity | undefined
  /** When the first step was watched, in milliseconds since 1970; 0 if none was. */
  since: number
  #over: (() => void)[] | undefined

  constructor (
    stanza: Stanza, { session, peer, arrival, at, transit }: Origin, batch = new PendingBatch(), number = ++last,
  ) {
    this.number = number
    this.stanza = stanza
    this.session = session
    this.peer = peer
    this.at = at
    this.batch = batch
    this.arrival = arrival
    this.stage = 'received'
    this.hold = undefined
    this.transit = transit
    this.gone = undefined
    this.recipients = NOBODY
    this.chosen = undefined
    this.payload = undefined
    this.answering = undefined
    this.entity = undefined
    this.since = 0
    this.#over = undefined
  }

  /** The stanza, once its recipient is known. */
  get addressed (): Addressed {
    const { stanza } = this
    if (!isAddressed(stanza)) throw new Error('the stanza has no recipient yet')
    return stanza
  }

  get message (): Message {
    const { addressed } = this
    return isMessage(addressed) ? addressed : this.#isOther('message')
  }

  get presence (): Addressed<'presence'> {
    const { addressed } = this
    return isPresence(addressed) ? addressed : this.#isOther('presence')
  }

  get iq (): Iq {
    const { addressed } = this
    return isIq(addressed) ? addressed : this.#isOther('iq')
  }

  #isOther (kind: string): never { throw new Error(`expected ${kind}, got ${this.stanza.kind}`) }

  get isSettled (): boolean { return this.stage === 'settled' }
  /** True until the outcome is known. */
  get isUnderWay (): boolean { return this.stage === 'received' || this.stage === 'waiting' }
  /** True if nothing is delivered and nobody is answered any more: `Transit.isDropped`. */
  get isDropped (): boolean { return this.transit?.isDropped === true }

  /** Runs `run` when the batch is submitted or has failed; at once if that has happened. */
  whenSettled (run: () => void): void {
    if (this.isSettled) run()
    else (this.#over ??= []).push(run)
  }

  /** Marks the batch as submitted, or as one that never will be. */
  settle (): void {
    this.stage = 'settled'
    const runs = this.#over
    this.#over = undefined
    for (const run of runs ?? []) run()
  }

  /** Splits the sender's side off: from now on each side is stored in a commit of its own. */
  part (arrival: Place): Passage {
    return new Passage(this.stanza, { session: this.session, peer: this.peer, arrival }, this.batch.part(), this.number)
  }

  /** Charges the sender units (cost.ts). The server's own stanzas cost nothing. */
  charge (units: number): void {
    if (this.session !== undefined) this.session.charge(units)
    else this.peer?.charge(units, this.stanza.from)
  }
}
