/** Time as a dependency: tests use a clock of their own. No other file uses Date.now and setTimeout. */

/** A scheduled call that can be cancelled. */
export interface Timer {
  /** Cancels the call. Calling this again, or after the call has run, does nothing. */
  cancel (): void
}

export interface Clock {
  /** Returns milliseconds since 1970, UTC. */
  now (): number
  /** Runs `run` once, after `ms` milliseconds. */
  after (ms: number, run: () => void): Timer
  /** Runs `run` every `ms` milliseconds until cancelled. */
  every (ms: number, run: () => void): Timer
}

/** The longest wait that setTimeout supports, in milliseconds (24.8 days). It would run a longer one at once. */
const LONGEST = 0x7fffffff

/** The system's clock. Its timers do not keep the process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after (ms, run) {
    let timer: NodeJS.Timeout
    const wait = (left: number): void => {
      timer = setTimeout(() => left > LONGEST ? wait(left - LONGEST) : run(), Math.min(left, LONGEST)).unref()
    }
    wait(ms)
    return { cancel: () => clearTimeout(timer) }
  },
  every (ms, run) {
    if (ms <= LONGEST) {
      const timer = setInterval(run, ms).unref()
      return { cancel: () => clearInterval(timer) }
    }
    let timer = systemClock.after(ms, again)
    function again (): void {
      timer = systemClock.after(ms, again)
      run()
    }
    return { cancel: () => timer.cancel() }
  },
}
