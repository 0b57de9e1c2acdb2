/**
 * A server that is stopped and started again while its users talk: after a planned stop nobody notices more than a
 * pause.
 */
import t, { type Test } from 'tap'
import { Cluster, MISSING } from '../storage/cluster.js'
import { Stage } from './stops.js'

/**
 * The number of messages that each of two devices sends right before a stop: in the first rounds, and in later ones.
 */
const MUCH = 500
const LITTLE = 100

t.setTimeout(1_200_000)

t.test('a planned stop loses no session, no message and no presence, whether the server is idle or in the middle of a burst', async t => {
  await plays(t, 20, 'driver = "sqlite"')
})

t.test('a planned stop loses nothing with PostgreSQL either', { skip: MISSING }, async t => {
  const cluster = await Cluster.start(t)
  await plays(t, 2, 'driver = "postgres"\nurl = { file = "url" }', await cluster.database())
})

async function plays (t: Test, rounds: number, storage: string, url = ''): Promise<void> {
  const stage = await Stage.open(t, storage, url)
  for (let round = 0; round < rounds; round++) {
    const isFirst = round < 4
    const how = round % 4 < 2 ? 'SIGTERM' : isFirst ? 'command' : 'question'
    await stage.plays({ how, burst: round % 2 === 0 ? 0 : isFirst ? MUCH : LITTLE })
  }
  for (const caller of stage.callers) t.equal(caller.chains.length, 1, `${caller.account} has one session through ${rounds} stops`)
  t.same(stage.seen, [], 'no contact has seen anybody go')
  stage.check(t)
}
