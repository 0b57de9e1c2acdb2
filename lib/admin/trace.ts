/** `sestina trace`: shows live the way of each stanza from or to one address, as the pipeline sees it. */
import { Cache } from '../base/cache.js'
import type { Server } from '../host/server.js'
import type { Sighting } from '../host/pipeline/watch.js'
import { flatten, fromOctets, octets, shortened } from '../xml/writer.js'
import type { Jid } from '../xmpp/jid.js'
import type { Stanza } from '../xmpp/stanza.js'
import { namesIn, withoutSecrets } from './redact.js'
import { CommandError, type Operator, type Report, type TracedStanza, type TracedStep } from './talk.js'

/** The most traces at a time. */
const MOST_TRACES = 8
/** The most steps and characters that wait for a slow reader. After that, steps are lost, and their number is told. */
const MOST_LINES = 1000
const MOST_CHARACTERS = 1024 * 1024
/** The most characters of one value, and of the content of a stanza. */
const LONGEST = 256
const LONGEST_CONTENT = 8192
/** The most children that are named. */
const MOST_NAMES = 8
/** The stanzas whose addresses and content a trace has shown. A stanza that was forgotten is shown anew. */
const MOST_KNOWN = 4096
/** How often the trace looks whether its reader has gone, in milliseconds. */
const LOOK = 1000

/** Traces until the reader has gone or the server stops. */
export async function trace (server: Server, wanted: Jid, showsBodies: boolean, talk: Operator): Promise<string> {
  const { watch } = server.pipeline
  if (watch.readers >= MOST_TRACES) throw new CommandError(`${MOST_TRACES} traces are running already`)
  const waiting = new WaitingSteps()
  const heads = new Heads(showsBodies)
  const end = watch.read({
    see: sighting => { if (concerns(sighting, wanted)) waiting.add(() => stepOf(sighting, heads)) },
    ended: () => { waiting.end() },
  })
  try {
    await talk.tell({ kind: 'note', text: `tracing ${wanted.toString()}; end with Ctrl-C` })
    while (!talk.gone) {
      const next = waiting.take()
      if (next !== undefined) await talk.tell(next)
      else if (waiting.isOver) break
      else await woken(server, waiting)
    }
  } finally {
    end()
  }
  return 'the server stops'
}

/** Resolves when steps wait, or after LOOK. */
function woken ({ clock }: Server, waiting: WaitingSteps): Promise<void> {
  return new Promise(resolve => {
    const timer = clock.after(LOOK, resolve)
    waiting.whenAny(() => {
      timer.cancel()
      resolve()
    })
  })
}

/** The steps that a reader has not taken yet: bounded, so that a slow reader costs no memory. */
export class WaitingSteps {
  readonly #steps: { readonly report: Report, readonly size: number }[] = []
  #size = 0
  /** The number of steps that were lost since the last one that waits. */
  #lost = 0
  #wake: (() => void) | undefined
  #isOver = false

  /** True if nothing more will come. */
  get isOver (): boolean { return this.#isOver }

  /** Adds a step; `make` is not called if there is no room. */
  add (make: () => TracedStep): void {
    if (this.#steps.length >= MOST_LINES || this.#size >= MOST_CHARACTERS) { this.#lost++; return }
    this.#noteLost()
    const report = make()
    const size = JSON.stringify(report).length
    this.#steps.push({ report, size })
    this.#size += size
    this.#ready()
  }

  /** Removes and returns the first step, or a note of how many were lost; undefined if there is none. */
  take (): Report | undefined {
    if (this.#steps.length === 0) this.#noteLost()
    const first = this.#steps.shift()
    this.#size -= first?.size ?? 0
    return first?.report
  }

  /** Runs `run` when a step is there, or none will come. */
  whenAny (run: () => void): void {
    if (this.#steps.length > 0 || this.#lost > 0 || this.#isOver) run()
    else this.#wake = run
  }

  /** Notes that nothing more will come. */
  end (): void {
    this.#isOver = true
    this.#ready()
  }

  #ready (): void {
    const run = this.#wake
    this.#wake = undefined
    run?.()
  }

  #noteLost (): void {
    if (this.#lost === 0) return
    this.#steps.push({ report: { kind: 'lost', steps: this.#lost }, size: 0 })
    this.#lost = 0
  }
}

/** True if the stanza is from or to this address: an account with all its devices, or one device. */
function concerns ({ stanza: { from, to } }: Sighting, wanted: Jid): boolean {
  return isAt(from, wanted) || to !== undefined && isAt(to, wanted)
}

function isAt (address: Jid, { local, domain, resource }: Jid): boolean {
  return address.local === local && address.domain === domain && (resource === '' || address.resource === resource)
}

/** Shows each stanza once, with the first of its steps that the reader gets. */
class Heads {
  readonly #showsBodies: boolean
  readonly #known = new Cache<number, true>({ max: MOST_KNOWN })

  constructor (showsBodies: boolean) { this.#showsBodies = showsBodies }

  /** Returns the stanza the first time. */
  of ({ number, stanza }: Sighting): { readonly stanza?: TracedStanza } {
    if (this.#known.get(number) === true) return {}
    this.#known.set(number, true)
    return { stanza: stanzaOf(stanza, this.#showsBodies) }
  }
}

function stepOf (sighting: Sighting, heads: Heads): TracedStep {
  const { number, at, passed, step, outcome, reason } = sighting
  return {
    kind: 'step', number, at: new Date(at).toISOString(), passed, step, outcome,
    ...reason === undefined ? {} : { reason: short(reason) },
    ...heads.of(sighting),
  }
}

function stanzaOf (stanza: Stanza, showsBodies: boolean): TracedStanza {
  const { kind, type, id, from, to } = stanza
  return {
    kind,
    type: short(type),
    ...id === undefined ? {} : { id: short(id) },
    from: from.toString(),
    ...to === undefined ? {} : { to: to.toString() },
    holds: short(namesIn(stanza.element, MOST_NAMES)),
    ...showsBodies ? { content: contentOf(stanza) } : {},
  }
}

function contentOf (stanza: Stanza): string {
  return flatten(shortened(fromOctets(octets(withoutSecrets(stanza.toElement()))), LONGEST_CONTENT))
}

/** Cuts a text that a stranger may have chosen, and copies it: it holds no network buffer while it waits. */
function short (text: string): string { return flatten(shortened(text, LONGEST)) }
