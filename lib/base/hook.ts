/** Hooks: the points where modules join in. Values with a type, and five named phases instead of numbers. */

/** The order within a hook. Named, for a number says nothing to the reader. */
export type Phase = 'screen' | 'stamp' | 'record' | 'act' | 'observe'
export const PHASES: readonly Phase[] = ['screen', 'stamp', 'record', 'act', 'observe']

/** A point where modules join in. A value, not a string: the event's type travels with it. */
export interface Hook<E> {
  readonly name: string
  readonly index: number
  readonly event?: E
}

/** 'handled' ends the hook: later phases do not run. */
export type Verdict = 'handled' | undefined
export type Handler<E> = (event: E) => Verdict | void | Promise<Verdict | void>

/** Where a handler stands: what `sestina hooks` prints. */
export interface HandlerPlace { readonly hook: string, readonly phase: Phase, readonly owner: string }

let hooks = 0

/** Makes a hook. To be called while files load, never for a stanza. */
export function hook<E> (name: string): Hook<E> {
  return { name, index: hooks++ }
}

interface Entry {
  // A method, for the table holds handlers of every event: `on` has seen to it that each gets its own.
  run (event: unknown): ReturnType<Handler<unknown>>
  readonly rank: number
  readonly place: HandlerPlace
}
const OBSERVE = PHASES.indexOf('observe')
const NONE: readonly Entry[] = []

/** The handlers of one host, by hook. */
export class Hooks {
  readonly #table: (readonly Entry[] | undefined)[] = []
  readonly #failed: (error: unknown, place: HandlerPlace) => void

  /** `failed` is told of each error in `observe`, where an error stops nothing. */
  constructor (failed: (error: unknown, place: HandlerPlace) => void) {
    this.#failed = failed
  }

  /** Adds a handler behind those of its phase, and returns what removes it. */
  on<E> (hook: Hook<E>, handler: Handler<E>, phase: Phase, owner: string): () => void {
    const entry: Entry = { run: handler, rank: PHASES.indexOf(phase), place: { hook: hook.name, phase, owner } }
    // A new list each time: a hook that is being fired goes on with the one it began with.
    const list = [...this.#table[hook.index] ?? NONE, entry].sort((a, b) => a.rank - b.rank)
    this.#table[hook.index] = list
    return () => {
      this.#table[hook.index] = this.#table[hook.index]?.filter(other => other !== entry)
    }
  }

  /** Whether anyone listens: where building the event costs something. */
  has (hook: Hook<unknown>): boolean {
    return (this.#table[hook.index]?.length ?? 0) > 0
  }

  /**
   * Runs the handlers in order, and answers without a promise where none of them waits.
   * An error before `observe` is thrown (fail closed); in `observe` it is reported, and the next handler runs.
   */
  fire<E> (hook: Hook<E>, event: E): Verdict | Promise<Verdict> {
    const list = this.#table[hook.index]
    return list === undefined || list.length === 0 ? undefined : this.#from(list, 0, event)
  }

  #from (list: readonly Entry[], start: number, event: unknown): Verdict | Promise<Verdict> {
    for (let i = start; i < list.length; i++) {
      const entry = list[i]
      if (entry === undefined) break
      let verdict
      try {
        verdict = entry.run(event)
      } catch (error) {
        if (entry.rank < OBSERVE) throw error
        this.#failed(error, entry.place)
        continue
      }
      if (verdict instanceof Promise) return this.#wait(verdict, entry, list, i + 1, event)
      if (verdict === 'handled') return verdict
    }
    return undefined
  }

  async #wait (verdict: Promise<Verdict | void>, entry: Entry, list: readonly Entry[], next: number, event: unknown): Promise<Verdict> {
    try {
      if (await verdict === 'handled') return 'handled'
    } catch (error) {
      if (entry.rank < OBSERVE) throw error
      this.#failed(error, entry.place)
    }
    return await this.#from(list, next, event)
  }

  /** Every handler in the order of running, hook by hook. */
  places (): HandlerPlace[] {
    return this.#table.flatMap(list => (list ?? NONE).map(entry => entry.place))
  }
}
