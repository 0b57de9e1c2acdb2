/**
 * The local socket between the command and the server: a working server sends signs of life, and a silent one is given
 * up.
 */
import { once } from 'node:events'
import { createConnection, createServer, type Socket } from 'node:net'
import t from 'tap'
import { askAdmin, serveAdmin } from '../../lib/admin/socket.js'
import { silent } from '../../lib/base/logger.js'
import { scenario } from '../scenario.js'
import { pathFor, worldOf } from './world.js'

t.setTimeout(1_200_000)

const STATUS = { command: 'status', args: [] }

t.test('a command ends after the server has been silent for too long', async t => {
  const path = pathFor(t)
  const connected = new Set<Socket>()
  const mute = createServer({ allowHalfOpen: true }, socket => { connected.add(socket) }).listen(path)
  await once(mute, 'listening')
  await t.rejects(askAdmin(path, STATUS, undefined, 20), { message: /the server has sent nothing for 0\.02 s/ })
  for (const socket of connected) socket.destroy()
  mute.close()
})

t.test('a server that works on a command sends a sign of life every few seconds, and nothing after its answer', async t => {
  const s = await scenario(t, { hosts: ['montague.lit'] })
  const path = pathFor(t)
  let begun = (): void => undefined
  let finish = (): void => undefined
  const isAtWork = new Promise<void>(resolve => { begun = resolve })
  const stop = (): Promise<void> => new Promise(resolve => { finish = resolve; begun() })
  const admin = await serveAdmin(path, worldOf(s.server, { stop }), silent)
  const timers = s.clock.timers
  const asker = createConnection({ path, allowHalfOpen: true }).setEncoding('utf8')
  asker.end(JSON.stringify({ command: 'stop', args: [] }))
  await isAtWork
  s.clock.pass(5000)
  t.strictSame(await once(asker, 'data'), ['\n'])
  finish()
  t.strictSame(await once(asker, 'data'), ['{"result":"stopped"}\n'])
  t.equal(s.clock.timers, timers)
  asker.destroy()
  await admin.close()
})

t.test('signs of life between the lines of an answer are not taken for the answer', async t => {
  const path = pathFor(t)
  const server = createServer({ allowHalfOpen: true }, socket => {
    socket.resume().on('end', () => { socket.end('\n\n{"told":{"kind":"note","text":"half way"}}\n\n{"result":"done"}\n') })
  }).listen(path)
  await once(server, 'listening')
  const notes: string[] = []
  t.strictSame(await askAdmin(path, STATUS, told => { if ('text' in told) notes.push(told.text) }), { result: 'done' })
  t.strictSame(notes, ['half way'])
  server.close()
})
