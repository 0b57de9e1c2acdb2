/**
 * Random histories of phones, connections, servers and archives, checked against the promise: every message reaches
 * every device that should have it, in order, once.
 */
import t from 'tap'
import { played } from './played.js'

const STEPS = 50_000

t.setTimeout(1_200_000)

t.test('whatever happens to connections and servers, messages come to each device that should have them, once and in order', async t => {
  const said = await played('play.js', STEPS)
  t.match(said, /every promise was kept/, said)
  const [, all, archived] = /^(\d+) steps, (\d+) of them with an archive/.exec(said) ?? []
  t.ok(Number(all) >= STEPS * 0.9 && Number(archived) >= STEPS * 0.3, said)
})
