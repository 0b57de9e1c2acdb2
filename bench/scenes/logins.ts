/** Users who come and go: a whole login, and closing the stream. */
import type { LoginsJob, Outcome } from '../jobs.js'
import { arrive, inParallel, pause } from './crowd.js'
import { Meter } from './meter.js'

/** Measures logins from the TCP connection to the initial presence. The cost includes closing the stream. */
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
    // The user's last session may still be closing. It keeps its address, so this one needs another.
    const client = await arrive(job.target, user, `turn${turn}`)
    await client.close()
  })
}
