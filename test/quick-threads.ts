/**
 * Starts the threads of this process without the tools of the test runner, with which a thread takes a second to start.
 */
import { syncBuiltinESMExports } from 'node:module'
import threads, { Worker, type WorkerOptions } from 'node:worker_threads'

/** The tool that measures the coverage. */
const MEASURING = process.execArgv.filter(arg => /tapjs.process/.test(arg))

/**
 * From now on threads start quickly in this process. `isMeasured`: with the tool that measures their coverage, which at
 * least one test of what runs in a thread must have.
 */
export function quickThreads (isMeasured = false): void {
  const execArgv = isMeasured ? MEASURING : []
  threads.Worker = class extends Worker {
    constructor (file: string | URL, options?: WorkerOptions) { super(file, { ...options, execArgv }) }
  }
  syncBuiltinESMExports()
}
