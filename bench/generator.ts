/** The bench's end of a load generator: starts its process, hands it jobs, waits for the outcome. */
import { fork, type ChildProcess } from 'node:child_process'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isReply, type Job, type Outcome } from './jobs.js'

const PATIENCE = 120_000
const generators = new Set<Generator>()

/** Ends every load generator that still runs: for the way out. */
export function endAllGenerators (): void {
  for (const generator of generators) generator.end()
}

/** One process; one job at a time. */
export class Generator {
  readonly #child: ChildProcess

  constructor () {
    this.#child = fork(fileURLToPath(new URL(`./load${extname(import.meta.url)}`, import.meta.url)))
    generators.add(this)
  }

  /** Plays the job. Throws where it failed or took more than two minutes. */
  async play (job: Job): Promise<Outcome> {
    return await new Promise((resolve, reject) => {
      const over = (): void => {
        clearTimeout(timer)
        this.#child.off('message', answered).off('exit', died)
      }
      const answered = (reply: unknown): void => {
        over()
        if (!isReply(reply)) reject(new Error('the load generator spoke in riddles'))
        else if ('outcome' in reply) resolve(reply.outcome)
        else reject(new Error(reply.failure))
      }
      const died = (): void => { over(); reject(new Error('the load generator died')) }
      const timer = setTimeout(() => { over(); reject(new Error(`${job.kind} took more than ${PATIENCE / 1000} s`)) }, PATIENCE)
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
