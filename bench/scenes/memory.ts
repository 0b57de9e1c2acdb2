/** Users who log in and are then silent: the growth of the server. */
import { memoryBytes } from '../measure.js'
import type { MemoryJob, Outcome } from '../jobs.js'
import { gather, leave, pause } from './crowd.js'
import { Meter } from './meter.js'

/** Measures the growth of the server by the users after the first `warmUsers`, when its memory is stable. */
export async function memory (job: MemoryJob): Promise<Outcome> {
  const first = await gather(job.target, job.users.slice(0, job.warmUsers))
  const before = await atRest(job)
  const meter = new Meter(job.pids)
  const rest = await gather(job.target, job.users.slice(job.warmUsers))
  const outcome = meter.read(rest.length, await atRest(job) - before)
  await leave([...first, ...rest])
  return outcome
}

/**
 * Returns the server's memory in bytes when it has changed by less than 1 % within `settleSeconds`. Waits for that at
 * most ten times `settleSeconds`.
 */
async function atRest (job: MemoryJob): Promise<number> {
  let now = memoryBytes(job.pids)
  for (let turn = 0; turn < 10; turn++) {
    const before = now
    await pause(job.settleSeconds)
    now = memoryBytes(job.pids)
    if (Math.abs(now - before) < before / 100) break
  }
  return now
}
