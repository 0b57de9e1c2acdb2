/**
 * A server killed under load, again and again: no acknowledged message is lost, and none comes twice to a session that
 * resumes.
 */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { Program } from '../interop/process.js'

t.setTimeout(1_200_000)
t.jobs = 3 // each waits most of the time

t.test('kill -9 at any moment loses no acknowledged message and no session', { buffered: true }, t => plays(t, 'play', 20))

t.test('if every other kill is an orderly stop, nothing is lost either, and every session outlives the stop', { buffered: true }, t => plays(t, 'play', 10, 'stops'))

t.test('a message on its way to another server when the server is killed arrives, or comes back to its sender', { buffered: true }, t => plays(t, 'neighbours', 6))

t.test('kill -9 while the occupants of a room talk: its archive and all of them have each message once, in one order, and all stay in the room', { buffered: true }, t => plays(t, 'rooms', 6))

async function plays (t: Test, name: string, kills: number, mode?: 'stops'): Promise<void> {
  const play = new Program(process.execPath, [join(PACKAGE_ROOT, 'dist', 'test', 'crash', `${name}.js`), String(kills), ...mode === undefined ? [] : [mode]], { input: '', isMeasured: false })
  t.teardown(() => play.stop())
  t.equal(await play.ended, 0, play.said)
  t.match(play.said, new RegExp(`^${mode === 'stops' ? `${kills / 2} stops, ${kills / 2}` : kills} kills, .* nothing lost, nothing twice`))
}
