/** The guard of connections to addresses that strangers choose. */
import { createServer, type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { Ranges } from '../../lib/base/reach.js'
import { ForbiddenPlace, Guard, type Place } from '../../lib/stream/guard.js'

const never = new AbortController().signal
const LISTENERS: readonly Place[] = [{ address: '0.0.0.0', port: 5269 }, { address: '::', port: 5269 }, { address: '9.9.9.1', port: 5222 }]

function guarded (allowed: readonly string[] = []): Guard {
  return new Guard({ allowed: new Ranges(allowed), listeners: () => LISTENERS, interfaces: () => ['127.0.0.1', '9.9.9.1', '2606:4700::7', 'fe80::1'] })
}

void t.test('an address that is not public is refused, unless the conf allows the target or the range', async t => {
  const guard = guarded(['10.0.0.0/8'])
  t.equal(guard.objection({ address: '1.1.1.1', port: 5269 }), undefined)
  t.match(guard.objection({ address: '192.168.0.1', port: 5269 }), '192.168.0.1 is a private address')
  t.match(guard.objection({ address: '::ffff:127.0.0.1', port: 25 }), 'a loopback address')
  t.match(guard.objection({ address: 'localhost', port: 25 }), 'an unknown address')
  t.equal(guard.objection({ address: '192.168.0.1', port: 5269, isAllowed: true }), undefined)
  t.equal(guard.objection({ address: '10.7.0.1', port: 5269 }), undefined)
  guard.allowed = new Ranges()
  t.match(guard.objection({ address: '10.7.0.1', port: 5269 }), 'a private address', 'a reload forbids it again')
})

void t.test('a listener of this server is refused at each address of the machine, however the address is written', async t => {
  const guard = guarded()
  for (const address of ['9.9.9.1', '::ffff:9.9.9.1', '64:ff9b::909:901', '2606:4700::7', '2606:4700:0::7']) {
    t.match(guard.objection({ address, port: 5269 }), 'is a listener of this server', address)
  }
  t.match(guard.objection({ address: '9.9.9.1', port: 5222 }), 'is a listener of this server')
  t.equal(guard.objection({ address: '2606:4700::7', port: 5222 }), undefined, 'nothing listens there')
  t.equal(guard.objection({ address: '9.9.9.1', port: 443 }), undefined)
  t.equal(guard.objection({ address: '9.9.9.2', port: 5269 }), undefined, 'another machine')
  t.equal(guarded(['9.9.9.1/32']).objection({ address: '9.9.9.1', port: 5269 }), undefined, 'a range that the conf allows')
})

async function listening (t: Test): Promise<{ readonly port: number, came: number }> {
  const state = { port: 0, came: 0 }
  const server = createServer(socket => { state.came++; socket.on('error', () => {}).end() })
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { server.close() })
  state.port = (server.address() as AddressInfo).port
  return state
}

void t.test('the guard connects only to allowed addresses; a refusal opens no connection and looks up no name', async t => {
  const there = await listening(t)
  for (const address of ['127.0.0.1', '::ffff:127.0.0.1', 'localhost', '127.1', '0.0.0.0']) {
    const refused = await new Guard().connect({ address, port: there.port }, never).catch((error: unknown) => error)
    t.ok(refused instanceof ForbiddenPlace, address)
  }
  const socket = await new Guard().connect({ address: '127.0.0.1', port: there.port, isAllowed: true }, never)
  await new Promise(resolve => { socket.on('close', resolve).resume() })
  t.equal(there.came, 1)
})

void t.test('a connection that is aborted before or during its start is cancelled', async t => {
  const there = await listening(t)
  const controller = new AbortController()
  const pending = new Guard().connect({ address: '127.0.0.1', port: there.port, isAllowed: true }, controller.signal)
  controller.abort()
  await t.rejects(pending, { message: 'cancelled' })
  await t.rejects(new Guard().connect({ address: '127.0.0.1', port: there.port, isAllowed: true }, controller.signal), { message: 'cancelled' })
})
