/**
 * Random histories of phones, connections, servers and archives, checked against the promise: every message reaches
 * every device that should have it, in order, once.
 */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { join } from 'node:path'
import t from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'

const STEPS = 50_000
/**
 * The histories are the same in each run, so that the result depends on the code only. `npm run test:model` plays
 * others.
 */
const SEED = 509231881

t.setTimeout(1_200_000)

// In a process of its own: the test runner watches each promise, and there are many.
t.test('whatever happens to connections and servers, messages come to each device that should have them, once and in order', async t => {
  const player = spawn(process.execPath, [join(PACKAGE_ROOT, 'dist', 'test', 'model', 'play.js'), String(STEPS), String(SEED)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const said = await text(player.stdout)
  t.match(said, /every promise was kept/, said)
  const [, all, archived] = /^(\d+) steps, (\d+) of them with an archive/.exec(said) ?? []
  t.ok(Number(all) >= STEPS * 0.9 && Number(archived) >= STEPS * 0.3, said)
})
