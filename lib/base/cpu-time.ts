/** The CPU time of the main thread that a piece of work uses. */

/**
 * Runs `work`, which must not wait for anything, and tells its CPU time in milliseconds, also if it throws. Node cannot
 * ask for the CPU time of one thread, so this is the smaller one of two bounds: the time that passes, and the CPU time
 * of all threads together.
 */
export function measured (work: () => void, tell: (milliseconds: number) => void): void {
  const began = performance.now()
  const before = process.cpuUsage()
  try {
    work()
  } finally {
    const { user, system } = process.cpuUsage(before)
    tell(Math.min(performance.now() - began, (user + system) / 1000))
  }
}
