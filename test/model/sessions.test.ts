/** Random histories of phones, lines and servers against the promise: every message at every device that should have it, in order, once. */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { join } from 'node:path'
import t from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'

const STEPS = 100_000

// In a process of its own: the test runner watches each promise, and there are many.
t.test('through whatever happens to lines and servers, messages come to each device that should have them, once and in order', async t => {
  t.setTimeout(1_200_000)
  const player = spawn(process.execPath, [join(PACKAGE_ROOT, 'dist', 'test', 'model', 'play.js'), String(STEPS)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const said = await text(player.stdout)
  t.match(said, /every promise was kept/, said)
  t.ok(Number(/^(\d+) steps/.exec(said)?.[1]) >= STEPS * 0.9, said)
})
