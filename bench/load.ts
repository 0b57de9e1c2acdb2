/** The load generator: its own process, which plays the bench's jobs one after the other and answers each. */
import { isJob, type Job, type Outcome, type Reply } from './jobs.js'
import { catchup } from './scenes/catchup.js'
import { fans, pep } from './scenes/fans.js'
import { logins } from './scenes/logins.js'
import { memory } from './scenes/memory.js'
import { messages } from './scenes/messages.js'
import { nodes } from './scenes/nodes.js'
import { friends, presence } from './scenes/presence.js'
import { quiet } from './scenes/quiet.js'
import { resume } from './scenes/resume.js'

// Ctrl-C goes to the whole process group. The bench decides when this process ends, by closing the channel.
process.on('SIGINT', () => undefined)
process.on('disconnect', () => { process.exit() })
process.on('message', value => {
  if (isJob(value)) void answer(value)
})

async function answer (job: Job): Promise<void> {
  const reply = await play(job).then<Reply, Reply>(
    outcome => ({ outcome }), (error: unknown) => ({ failure: String(error) }),
  )
  process.send?.(reply)
}

async function play (job: Job): Promise<Outcome> {
  switch (job.kind) {
    case 'messages': return await messages(job)
    case 'logins': return await logins(job)
    case 'resume': return await resume(job)
    case 'quiet': return await quiet(job)
    case 'memory': return await memory(job)
    case 'friends': return await friends(job)
    case 'presence': return await presence(job)
    case 'catchup': return await catchup(job)
    case 'fans': return await fans(job)
    case 'pep': return await pep(job)
    case 'publish': case 'retrieve': return await nodes(job)
  }
}
