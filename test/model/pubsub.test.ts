/**
 * Random histories of nodes, held against a plain model: at a domain, and on the address of an account. Each reply, the
 * recipients of each notification, and each stanza to anybody are checked.
 */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { join } from 'node:path'
import t from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'

const STEPS = 3000
/**
 * The histories are the same in each run, so that the result depends on the code only. `npm run test:model-nodes` plays
 * others.
 */
const SEED = 509231881

t.setTimeout(1_200_000)

// In a process of its own: the test runner watches each promise, and there are many.
t.test('nodes do what a plain model says, and nobody without access gets an item, its id or, from an account, the name of a node', async t => {
  const player = spawn(process.execPath, [join(PACKAGE_ROOT, 'dist', 'test', 'model', 'play-nodes.js'), String(STEPS), String(SEED)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const said = await text(player.stdout)
  t.match(said, /server and model agree/, said)
  const counts = [...said.matchAll(/(\d+) at a/g)].map(([, count]) => Number(count))
  t.ok(counts.length === 3 && counts.every(count => count >= STEPS / 10), said)
})
