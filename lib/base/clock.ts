/** Time, handed in: tests hand in a clock of their own. The only home of Date.now and setTimeout. */

/** Something that will happen, and can be called off. */
export interface Timer {
  /** Calls it off. Calling it again, or after it has run, does nothing. */
  cancel (): void
}

export interface Clock {
  /** Milliseconds since 1970, UTC. */
  now (): number
  /** Runs once, `ms` milliseconds from now. */
  after (ms: number, run: () => void): Timer
  /** Runs every `ms` milliseconds until cancelled. */
  every (ms: number, run: () => void): Timer
}

/** setTimeout takes no more than this many milliseconds (24.8 days); a longer wait would run at once. */
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
