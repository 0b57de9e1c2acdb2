/** Hooks: the points at which modules take part. Each is a typed value, and its handlers run in five named phases. */

/** When a handler of a hook runs. */
export type Phase = 'screen' | 'stamp' | 'record' | 'act' | 'observe'
export const PHASES: readonly Phase[] = ['screen', 'stamp', 'record', 'act', 'observe']

/** A point at which modules take part. It is a value, so that the event's type comes with it. */
export interface Hook<E> {
  readonly name: string
  readonly index: number
  readonly event?: E
}

/** 'handled' ends the hook: later handlers do not run. */
export type Verdict = 'handled' | undefined
export type Handler<E> = (event: E) => Verdict | void | Promise<Verdict | void>

/** A handler's hook, phase and module. `sestina hooks` prints it. */
export interface HandlerPlace { readonly hook: string, readonly phase: Phase, readonly owner: string }

let hooks = 0

/** Makes a hook. Call it while files load, never for a stanza. */
export function hook<E> (name: string): Hook<E> {
  return { name, index: hooks++ }
}

interface Entry {
  // a method, because the table holds handlers of all events: `on` makes sure that each gets its own event
  run (event: unknown): ReturnType<Handler<unknown>>
  readonly rank: number
  readonly place: HandlerPlace
}

/** The handlers that threw errors. It holds no error longer than others do. */
const thrown = new WeakMap<Error, HandlerPlace>()

/** Returns the place of the handler that threw an error before `observe`; undefined if none did. */
export function throwerOf (error: unknown): HandlerPlace | undefined {
  return error instanceof Error ? thrown.get(error) : undefined
}

function noted (error: unknown, place: HandlerPlace): unknown {
  if (error instanceof Error) thrown.set(error, place)
  return error
}

const OBSERVE = PHASES.indexOf('observe')
const NONE: readonly Entry[] = []

/** The handlers of one host, by hook. */
export class Hooks {
  readonly #table: (readonly Entry[] | undefined)[] = []
  readonly #failed: (error: unknown, place: HandlerPlace) => void

  /** `failed` is called with each error in `observe`, where an error stops nothing. */
  constructor (failed: (error: unknown, place: HandlerPlace) => void) {
    this.#failed = failed
  }

  /** Adds a handler after the others of its phase, and returns a function that removes it. */
  on<E> (hook: Hook<E>, handler: Handler<E>, phase: Phase, owner: string): () => void {
    const entry: Entry = { run: handler, rank: PHASES.indexOf(phase), place: { hook: hook.name, phase, owner } }
    // A new list each time: a hook that is being fired continues with its old list.
    const list = [...this.#table[hook.index] ?? NONE, entry].sort((a, b) => a.rank - b.rank)
    this.#table[hook.index] = list
    return () => {
      this.#table[hook.index] = this.#table[hook.index]?.filter(other => other !== entry)
    }
  }

  /** True if the hook has handlers. Ask before building a costly event. */
  has (hook: Hook<unknown>): boolean {
    return (this.#table[hook.index]?.length ?? 0) > 0
  }

  /**
   * Runs the handlers in order. Returns a promise only if a handler does. An error before `observe` is thrown (fail
   * closed); an error in `observe` is reported, and the next handler runs.
   */
  fire<E> (hook: Hook<E>, event: E): Verdict | Promise<Verdict> {
    const by = this.run(hook, event)
    if (by === undefined) return undefined
    return by instanceof Promise ? by.then(by => by && 'handled') : 'handled'
  }

  /** As `fire`, but returns the place of the handler that returned 'handled'. */
  run<E> (hook: Hook<E>, event: E): HandlerPlace | undefined | Promise<HandlerPlace | undefined> {
    const list = this.#table[hook.index]
    return list === undefined || list.length === 0 ? undefined : this.#from(list, 0, event)
  }

  #from (
    list: readonly Entry[], start: number, event: unknown,
  ): HandlerPlace | undefined | Promise<HandlerPlace | undefined> {
    for (let i = start; i < list.length; i++) {
      const entry = list[i]
      if (entry === undefined) break
      let verdict
      try {
        verdict = entry.run(event)
      } catch (error) {
        if (entry.rank < OBSERVE) throw noted(error, entry.place)
        this.#failed(error, entry.place)
        continue
      }
      if (verdict instanceof Promise) return this.#wait(verdict, entry, list, i + 1, event)
      if (verdict === 'handled') return entry.place
    }
    return undefined
  }

  async #wait (
    verdict: Promise<Verdict | void>, entry: Entry, list: readonly Entry[], next: number, event: unknown,
  ): Promise<HandlerPlace | undefined> {
    try {
      if (await verdict === 'handled') return entry.place
    } catch (error) {
      if (entry.rank < OBSERVE) throw noted(error, entry.place)
      this.#failed(error, entry.place)
    }
    return await this.#from(list, next, event)
  }

  /** Every handler in the order in which it runs, hook by hook. */
  places (): HandlerPlace[] {
    return this.#table.flatMap(list => (list ?? NONE).map(entry => entry.place))
  }
}
