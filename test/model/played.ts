/** Runs a player of random histories, as `npm run test:model` does. */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { join } from 'node:path'
import { PACKAGE_ROOT } from '../../lib/base/package.js'

/**
 * The seed of the histories in the test run. They are the same in each run, so that the result depends on the code
 * only. `npm run test:model` and `npm run test:model-nodes` play others.
 */
const SEED = 509231881

/**
 * Returns what a player, such as play.js, has printed. It is a process of its own: the test runner watches each
 * promise, and there are many.
 */
export async function played (player: string, steps: number): Promise<string> {
  const program = spawn(process.execPath, [join(PACKAGE_ROOT, 'dist', 'test', 'model', player), String(steps), String(SEED)], { stdio: ['ignore', 'pipe', 'inherit'] })
  return await text(program.stdout)
}
