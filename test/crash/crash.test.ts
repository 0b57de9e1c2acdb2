/** A server killed under load, again and again: nothing that was acknowledged is lost, nothing comes twice to a session that resumes. */
import { join } from 'node:path'
import t from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { Program } from '../interop/process.js'

const KILLS = 20

t.test('kill -9 at any instant loses nothing that was acknowledged, and no session', async t => {
  t.setTimeout(600_000)
  const play = new Program(process.execPath, [join(PACKAGE_ROOT, 'dist', 'test', 'crash', 'play.js'), String(KILLS)], { input: '' })
  t.teardown(() => play.stop())
  t.equal(await play.ended, 0, play.said)
  t.match(play.said, new RegExp(`^${KILLS} kills, .* nothing lost, nothing twice`))
})
