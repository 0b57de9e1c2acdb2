/** Users who come and go: a whole login, and the orderly goodbye. */
import type { LoginsJob, Outcome } from '../jobs.js'
import { arrive, inParallel, pause } from './crowd.js'
import { Meter } from './meter.js'

/** Logins from the TCP connection to the initial presence; closing the stream is part of the price. */
export async function logins (job: LoginsJob): Promise<Outcome> {
  await comeAndGo(job, job.warmLogins)
  const meter = new Meter(job.pids)
  await comeAndGo(job, job.logins)
  await pause(0.1)
  return meter.read(job.logins)
}

async function comeAndGo (job: LoginsJob, times: number): Promise<void> {
  const turns = Array.from({ length: times }, (_, i) => i)
  await inParallel(turns, job.concurrency, async turn => {
    const user = job.users[turn % job.users.length] ?? ''
    // The one before of the same user may still be on its way out: it keeps its address.
    const client = await arrive(job.target, user, `turn${turn}`)
    await client.close()
  })
}
