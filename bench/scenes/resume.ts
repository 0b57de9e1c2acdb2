/** Users who lose their connection and resume their session. */
import { Client } from '../client.js'
import type { Outcome, ResumeJob } from '../jobs.js'
import { ask, arrive, inParallel, leave, pause, settled } from './crowd.js'
import { Meter } from './meter.js'

/** A user with what the client needs to resume. */
interface Visitor { readonly user: string, readonly id: string, readonly token: string, client: Client }

/** Measures resumptions: the end of the old connection, the new one, the login and `<resumed/>`. */
export async function resume (job: ResumeJob): Promise<Outcome> {
  const visitors: Visitor[] = []
  await inParallel(job.users, job.concurrency, async user => { visitors.push(await visit(job, user)) })
  await comeBack(job, visitors, job.warmTimes)
  const meter = new Meter(job.pids)
  await comeBack(job, visitors, job.times)
  await pause(0.1)
  const outcome = meter.read(job.times * visitors.length)
  await leave(visitors.map(({ client }) => client))
  return outcome
}

async function visit ({ target, atOnce }: ResumeJob, user: string): Promise<Visitor> {
  const { client, token } = atOnce ? await Client.loginForToken(target, user) : { client: await arrive(target, user), token: '' }
  if (atOnce) await ask(client)
  // Stanzas that arrived before are not counted, so the session keeps none of them and sends nothing again.
  await settled(client, target.domain)
  return { user, client, token, id: await client.enable() }
}

async function comeBack (
  { target, atOnce, concurrency }: ResumeJob, visitors: readonly Visitor[], times: number,
): Promise<void> {
  await inParallel(visitors, concurrency, async visitor => {
    const { user, id, token } = visitor
    for (let time = 0; time < times; time++) {
      visitor.client.destroy()
      visitor.client = atOnce
        ? await Client.resumeAtOnce(target, user, id, token)
        : await Client.resume(target, user, id)
    }
  })
}
