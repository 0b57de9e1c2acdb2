/**
 * Random histories of nodes, held against a plain model: at a domain, and on the address of an account. Each reply, the
 * recipients of each notification, and each stanza to anybody are checked.
 */
import t from 'tap'
import { played } from './played.js'

const STEPS = 3000

t.setTimeout(1_200_000)

t.test('nodes do what a plain model says, and nobody without access gets an item, its id or, from an account, the name of a node', async t => {
  const said = await played('play-nodes.js', STEPS)
  t.match(said, /server and model agree/, said)
  const counts = [...said.matchAll(/(\d+) at a/g)].map(([, count]) => Number(count))
  t.ok(counts.length === 3 && counts.every(count => count >= STEPS / 10), said)
})
