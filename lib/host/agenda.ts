/**
 * Durable timers: rows of a table that say what is to be done for an owner, and when. They survive a restart. Each is
 * done at least once, and never twice at the same time.
 */
import type { Clock, Timer } from '../base/clock.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import type { Maybe } from '../base/maybe.js'
import { hasForm } from '../storage/shape.js'
import type { Batch, Shape } from '../storage/store.js'
import { table, type Table } from '../storage/table.js'

/** A timer as its table keeps it. */
export interface StoredTimer<V> {
  readonly what: string
  readonly key: string
  /** Milliseconds since 1970. */
  readonly due: number
  readonly value: V
  /** Another one each time that the timer is set. */
  readonly id: string
}

/** A timer: `what` and `key` name it among those of its owner. `due`: milliseconds since 1970. */
export interface NewTimer<V> { readonly what: string, readonly key: string, readonly due: number, readonly value: V }

export interface DueTimer<V> extends NewTimer<V> { readonly owner: string }

/**
 * Does the work of a timer. What it adds to the batch is stored in the commit that removes the timer, so writes happen
 * once; anything else may happen again after a crash. If it throws, the timer runs again later.
 */
export type TimerRun<V> = (timer: DueTimer<V>, batch: Batch) => Maybe<void>

/** The work of timers, by their `what`. */
export type TimerRuns<V> = Readonly<Record<string, TimerRun<V>>>

/** The parts of a module's host that its agenda uses. */
export interface AgendaHost {
  readonly domain: string
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  batch (): Batch & { commit (): Promise<void> }
  whileUp (put: () => (isReplaced: boolean) => void): void
}

/** The most timers that run at the same time, for each agenda; the others wait. */
const AT_ONCE = 16
/** The first and the longest pause before a timer that failed runs again, in milliseconds; it doubles in between. */
const FIRST_PAUSE = 60_000
const LONGEST_PAUSE = 3_600_000
/** The most timers that are remembered as failed; with more, no other timer runs until the first of them may again. */
const MOST_FAILED = 1000
/** The longest wait until the next look, in milliseconds: the clock of the machine may be set. */
const LONGEST_WAIT = 3_600_000

/** Declares the table of an agenda, as a store of a module. `V`: the value of a timer, which is JSON. */
export function timers<V> (version: number): Shape<Table<StoredTimer<V>>> {
  return table<StoredTimer<V>>(version, { by: { due: ({ due }) => due } }, undefined, {
    check: value => hasForm(value, { what: 'string', key: 'string', due: 'number', id: 'string' }), unreadable: 'moved',
  })
}

/** Sets and cancels the timers of one table for the owners at one host, and runs those that are due. */
export interface Agenda<V> {
  /** Sets a timer of an owner at this host, in the place of one with the same `what` and `key`. */
  set (batch: Batch, owner: string, timer: NewTimer<V>): void
  /** Cancels a timer. If it runs already, it ends its run. */
  cancel (batch: Batch, owner: string, what: string, key: string): void
}

/**
 * Returns the agenda of a table. Its timers run while the module is up; if the module is replaced, a timer that is
 * running is not run a second time meanwhile.
 */
export function agenda<V> (host: AgendaHost, rows: Table<StoredTimer<V>>, runs: TimerRuns<V>): Agenda<V> {
  const loop = new TimerLoop(host, rows, runs, runningAt(rows, host.domain))
  host.whileUp(() => {
    loop.start()
    return () => { loop.stop() }
  })
  return loop
}

/** The timers of one table and host that are running, by name. They stay while their module is replaced. */
class Running {
  readonly names = new Set<string>()
  /** Called when a run has ended; the loop that has begun last is told. */
  ended: () => void = () => {}
}

const RUNNING = new WeakMap<object, Map<string, Running>>()

function runningAt (rows: object, domain: string): Running {
  const hosts = RUNNING.get(rows) ?? new Map<string, Running>()
  RUNNING.set(rows, hosts)
  const running = hosts.get(domain) ?? new Running()
  hosts.set(domain, running)
  return running
}

interface Failed { readonly id: string, readonly at: number, readonly pause: number }

class TimerLoop<V> implements Agenda<V> {
  readonly #host: AgendaHost
  readonly #rows: Table<StoredTimer<V>>
  readonly #runs: TimerRuns<V>
  readonly #running: Running
  readonly #failed = new Map<string, Failed>()
  #timer: { readonly timer: Timer, readonly at: number } | undefined
  /** True while the module is up. */
  #isUp = false
  #isLooking = false
  /** True if something has changed since the last look began. */
  #mustLook = false

  constructor (host: AgendaHost, rows: Table<StoredTimer<V>>, runs: TimerRuns<V>, running: Running) {
    this.#host = host
    this.#rows = rows
    this.#runs = runs
    this.#running = running
  }

  start (): void {
    this.#isUp = true
    this.#running.ended = () => { this.#look() }
    this.#look()
  }

  /** Ends the loop. Timers that run already end their runs. */
  stop (): void {
    this.#isUp = false
    this.#timer?.timer.cancel()
    this.#timer = undefined
  }

  set (batch: Batch, owner: string, { what, key, due, value }: NewTimer<V>): void {
    batch.add(this.#rows.putting(owner, keyOf(what, key), { what, key, due, value, id: this.#host.ids.next() }))
    batch.committed(() => { this.#wake(due) })
  }

  cancel (batch: Batch, owner: string, what: string, key: string): void {
    batch.add(this.#rows.removing(owner, keyOf(what, key)))
  }

  /** Looks at the timers at this time, or earlier. */
  #wake (at: number): void {
    if (!this.#isUp || this.#timer !== undefined && this.#timer.at <= at) return
    this.#timer?.timer.cancel()
    const { clock } = this.#host
    const wait = Math.min(Math.max(0, at - clock.now()), LONGEST_WAIT)
    this.#timer = {
      at,
      timer: clock.after(wait, () => {
        this.#timer = undefined
        this.#look()
      }),
    }
  }

  #look (): void {
    this.#mustLook = true
    if (this.#isLooking || !this.#isUp) return
    this.#isLooking = true
    void this.#lookAgain()
  }

  async #lookAgain (): Promise<void> {
    while (this.#mustLook && this.#isUp) {
      this.#mustLook = false
      try {
        await this.#lookOnce()
      } catch (error) {
        this.#host.log.warn('timers not read', { error })
        this.#wake(this.#host.clock.now() + FIRST_PAUSE)
      }
    }
    this.#isLooking = false
  }

  /** Runs the timers that are due, as many as there is room for, and waits for the next one. */
  async #lookOnce (): Promise<void> {
    const now = this.#host.clock.now()
    if (this.#running.names.size >= AT_ONCE) return // the end of a run looks again
    const pausing = this.#pausing(now)
    if (pausing >= MOST_FAILED) return
    const limit = AT_ONCE + pausing + 1
    const { rows } = await this.#rows.page({ host: this.#host.domain }, { by: 'due', limit })
    for (const { owner, key, value } of rows) {
      const name = nameOf(owner, key)
      if (value.due > now) {
        this.#wake(value.due)
        return
      }
      if (this.#running.names.has(name) || this.#mustPause(name, value, now)) continue
      if (this.#running.names.size >= AT_ONCE || !this.#isUp) return
      void this.#run(owner, key, value)
    }
  }

  /** Returns the number of failed timers that must not run yet. They wake the loop in their time. */
  #pausing (now: number): number {
    let count = 0
    for (const [name, { at }] of this.#failed) {
      if (at > now) {
        count++
        this.#wake(at)
      } else if (now - at > LONGEST_PAUSE) this.#failed.delete(name) // cancelled meanwhile
    }
    return count
  }

  #mustPause (name: string, { id }: StoredTimer<V>, now: number): boolean {
    const failed = this.#failed.get(name)
    return failed?.id === id && failed.at > now
  }

  async #run (owner: string, key: string, stored: StoredTimer<V>): Promise<void> {
    const name = nameOf(owner, key)
    const { what, due, value } = stored
    this.#running.names.add(name)
    try {
      const batch = this.#host.batch()
      const run = Object.hasOwn(this.#runs, what) ? this.#runs[what] : undefined
      try {
        if (run === undefined) throw new Error(`the module has nothing to do for timers '${what}'`)
        await run({ owner, what, key: stored.key, due, value }, batch)
      } catch (error) {
        batch.submitting(() => { throw error }) // the batch fails as a whole, so that it undoes changes in memory
      }
      batch.add(this.#rows.removing(owner, key, stored))
      await batch.commit()
      this.#failed.delete(name)
    } catch (error) {
      this.#fail(name, stored, error)
    } finally {
      this.#running.names.delete(name)
      this.#running.ended()
    }
  }

  #fail (name: string, { what, id }: StoredTimer<V>, error: unknown): void {
    const before = this.#failed.get(name)
    const pause = before === undefined ? FIRST_PAUSE : Math.min(2 * before.pause, LONGEST_PAUSE)
    this.#host.log.error('timer failed', { what, error, retryInSeconds: pause / 1000 })
    this.#failed.set(name, { id, at: this.#host.clock.now() + pause, pause })
  }
}

function keyOf (what: string, key: string): string { return `${what} ${key}` }
function nameOf (owner: string, key: string): string { return `${owner}\n${key}` }
