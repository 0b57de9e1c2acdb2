/** The bench's side of a load generator: starts its process, sends it jobs and waits for the outcomes. */
import { fork, type ChildProcess } from 'node:child_process'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isReply, type Job, type Outcome } from './jobs.js'

/** How long a job may take, in milliseconds; thousands of contacts are made by thousands of logins. */
const JOB_TIMEOUT = 120_000
const FANS_TIMEOUT = 480_000
const generators = new Set<Generator>()

/** Ends every load generator that still runs, when the bench exits. */
export function endAllGenerators (): void {
  for (const generator of generators) generator.end()
}

/** One process of a load generator. It plays one job at a time. */
export class Generator {
  readonly #child: ChildProcess

  constructor () {
    this.#child = fork(fileURLToPath(new URL(`./load${extname(import.meta.url)}`, import.meta.url)))
    generators.add(this)
  }

  /** Plays the job. Throws if it fails or takes more than two minutes. */
  async play (job: Job): Promise<Outcome> {
    return await new Promise((resolve, reject) => {
      const over = (): void => {
        clearTimeout(timer)
        this.#child.off('message', answered).off('exit', died)
      }
      const answered = (reply: unknown): void => {
        over()
        if (!isReply(reply)) reject(new Error('the reply of the load generator cannot be read'))
        else if ('outcome' in reply) resolve(reply.outcome)
        else reject(new Error(reply.failure))
      }
      const died = (): void => { over(); reject(new Error('the load generator died')) }
      const timeout = job.kind === 'fans' ? FANS_TIMEOUT : JOB_TIMEOUT
      const timer = setTimeout(() => { over(); reject(new Error(`${job.kind} took more than ${timeout / 1000} s`)) }, timeout)
      this.#child.on('message', answered).on('exit', died)
      this.#child.send(job)
    })
  }

  /** Ends the process. */
  end (): void {
    generators.delete(this)
    this.#child.kill('SIGKILL')
  }
}
