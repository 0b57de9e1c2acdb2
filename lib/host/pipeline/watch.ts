/** Shows the way of each stanza, step by step: in the log at the level `debug`, and to the readers of a trace. */
import type { Clock } from '../../base/clock.js'
import { throwerOf, type HandlerPlace } from '../../base/hook.js'
import type { Logger } from '../../base/logger.js'
import { StanzaError, StreamError } from '../../xmpp/errors.js'
import type { Stanza } from '../../xmpp/stanza.js'
import type { Outcome, Passage, Settled } from './passage.js'

/** One step of a stanza, as a reader sees it. */
export interface Sighting {
  /** The number of the stanza since the start of the process. */
  readonly number: number
  /** The time, in milliseconds since 1970, and the milliseconds since the first step that was seen. */
  readonly at: number
  readonly passed: number
  readonly step: string
  /** 'waits', 'refused', 'stored', or how the step ended (`Outcome`). */
  readonly outcome: string
  /** Where the stanza goes, or why its way ends here. */
  readonly reason: string | undefined
  readonly stanza: Stanza
}

/** A reader of a trace. */
export interface Reader {
  see (sighting: Sighting): void
  /** Called when the server stops: nothing more is seen. */
  ended (): void
}

/** The recipients that one line names. */
const MOST_NAMED = 5

export class Watch {
  readonly #clock: Clock
  readonly #log: Logger
  readonly #readers = new Set<Reader>()

  constructor (clock: Clock, log: Logger) {
    this.#clock = clock
    this.#log = log
  }

  /** True if somebody watches. Ask first: without a reader, a step costs this comparison alone. */
  get isOn (): boolean { return this.#log.isDebugging || this.#readers.size > 0 }

  /** Shows all steps to a reader, until the returned function is called. */
  read (reader: Reader): () => void {
    this.#readers.add(reader)
    return () => { this.#readers.delete(reader) }
  }

  /** The number of readers. */
  get readers (): number { return this.#readers.size }

  /** Tells all readers that the server stops. */
  end (): void { for (const reader of this.#readers) reader.ended() }

  /** A step has ended with this outcome. */
  step (passage: Passage, step: string, outcome: Outcome): void {
    this.#see(passage, step, outcome.go, reasonOf(outcome))
  }

  /** A step waits. */
  waits (passage: Passage, step: string): void { this.#see(passage, step, 'waits', undefined) }

  /** A step has thrown. */
  refused (passage: Passage, step: string, error: unknown): void {
    const place = throwerOf(error)
    const by = place === undefined ? '' : ` by ${nameOf(place)}`
    this.#see(passage, step, passage.isDropped ? 'dropped' : 'refused', `${textOf(error)}${by}`)
  }

  /** The batch of a stanza is stored, and what waited for that is released. */
  stored (passage: Passage, outcome: Settled): void { this.#see(passage, 'commit', 'stored', outcome.go) }

  /** A stanza is given up without an answer to its sender (`Transit.isDropped`). */
  dropped (passage: Passage, step: string): void {
    this.#see(passage, step, 'dropped', 'its sender was told, or it is stored for the next start')
  }

  #see (passage: Passage, step: string, outcome: string, reason: string | undefined): void {
    const { number, stanza } = passage
    const at = this.#clock.now()
    const isFirst = passage.since === 0
    if (isFirst) passage.since = at
    if (this.#log.isDebugging) this.#write(number, stanza, isFirst, { step, outcome, reason })
    const sighting: Sighting = { number, at, passed: at - passage.since, step, outcome, reason, stanza }
    for (const reader of this.#readers) this.#show(reader, sighting)
  }

  /** An error of a reader changes nothing on the way of the stanza. */
  #show (reader: Reader, sighting: Sighting): void {
    try {
      reader.see(sighting)
    } catch (error) {
      this.#log.error('step not shown', { number: sighting.number, step: sighting.step, error })
    }
  }

  #write (number: number, { kind, type, id, from, to }: Stanza, isFirst: boolean, rest: Partial<Sighting>): void {
    const stanza = isFirst ? { kind, type, id, from: from.toString(), to: to?.toString() } : {}
    this.#log.debug('stanza step', { number, ...rest, ...stanza })
  }
}

function reasonOf (outcome: Outcome): string | undefined {
  switch (outcome.go) {
    case 'to': return outcome.where.place
    case 'handled': return typeof outcome.by === 'string' ? outcome.by : nameOf(outcome.by)
    case 'delivered': return named(outcome.to.map(({ jid }) => jid.toString()))
    case 'ends': return textOf(outcome.error)
    default: return undefined
  }
}

function named (names: readonly string[]): string {
  if (names.length === 0) return 'nobody'
  const more = names.length - MOST_NAMED
  return names.slice(0, MOST_NAMED).join(', ') + (more > 0 ? ` and ${more} more` : '')
}

function nameOf ({ owner, hook, phase }: HandlerPlace): string { return `${owner} (${hook}, ${phase})` }

/** Says what went wrong. The text of an unexpected error may show the server's inside: it stands in the log alone. */
function textOf (error: unknown): string {
  return error instanceof StanzaError || error instanceof StreamError ? error.message : 'unexpected error, see the log'
}
