/** 200 dead, slow or lying domains among 20 good ones: the good ones do not notice. SOAK=600 makes it ten minutes. */
import { readFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { xml } from '@xmpp/client'
import t, { type Test } from 'tap'
import { missing } from '../process.js'
import { Device, Quarter, startSestina, trustAll, type Sestina, type Stanza } from './servers.js'

const OURS = 'montague.test'
/** A server that sends nothing to the bad domains. */
const CALM = 'escalus.test'
const GOOD = Array.from({ length: 20 }, (_, n) => `good${n}.test`)
const BAD = Array.from({ length: 200 }, (_, n) => `bad${n}.test`)
const SECONDS = Number(process.env['SOAK'] ?? 20)
/** The number of pings to each good domain before the attack, to measure the usual time. */
const BEFORE = 15
/** Smaller differences, in milliseconds, are chance on a machine that does other things as well. */
const NOISE = 5
const skip = process.getuid?.() !== 0 ? 'needs root, for DNS on port 53' : missing({ unshare: 'util-linux' })

t.setTimeout((SECONDS + 180) * 1000)

const HEADER = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' id='x' version='1.0'>"
const TLS = "xmlns='urn:ietf:params:xml:ns:xmpp-tls'"
/** The ways in which a bad server misbehaves. */
const MANNERS: readonly ((socket: Socket) => void)[] = [
  () => {}, // accepts connections, and says nothing
  socket => { drip(socket, HEADER) }, // a byte at a time
  socket => { socket.write(`${HEADER}<stream:features>`); flood(socket, '<x/>') }, // endless features
  socket => { socket.write(`${HEADER}<stream:features/>`) }, // offers nothing
  socket => { socket.write('HTTP/1.1 400 Bad Request\r\n\r\n') },
  socket => { socket.write(`${HEADER}<stream:features><starttls ${TLS}/></stream:features><proceed ${TLS}/>no TLS`) },
  socket => { socket.destroy() },
]

t.test('dead, slow and lying domains cost the good ones neither time nor memory', { skip }, async t => {
  const quarter = await Quarter.build(t, { trust: 'certificate' })
  trustAll(t)
  const ours = await startSestina(quarter, { domains: [OURS] })
  await startSestina(quarter, { domains: GOOD })
  await raiseBad(t, quarter)
  await ours.addUser('romeo')
  await ours.addUser('mercutio')
  const calm = await startSestina(quarter, { domains: [CALM] })
  await calm.addUser('prince')
  const prince = await Device.of(t, calm, 'prince')
  const romeo = await Device.of(t, ours, 'romeo')
  const mercutio = await Device.of(t, ours, 'mercutio')

  await round(romeo, 'warm')
  await round(prince, 'warm')
  const usual: number[] = []
  for (let n = 0; n < BEFORE; n++) usual.push(...await round(romeo, `before${n}`))
  const meanwhile: number[] = []
  // The same from the calm server, at the same time: what else the machine does delays both.
  const control: number[] = []
  const memory: number[] = []
  let sent = 0
  const begun = Date.now()
  for (let n = 0; Date.now() - begun < SECONDS * 1000; n++) {
    for (const domain of BAD) {
      await mercutio.says(xml('message', { to: `nobody@${domain}`, type: 'chat', id: `m${sent++}` }, xml('body', {}, 'x'.repeat(200))))
    }
    meanwhile.push(...await round(romeo, `meanwhile${n}`))
    control.push(...await round(prince, `meanwhile${n}`))
    await mercutio.hears(250)
    memory.push(memoryOf(ours))
  }
  const [first = NaN, then = NaN, calmly = NaN] = [usual, meanwhile, control].map(median)
  const half = memory.slice(Math.floor(memory.length / 4))
  const late = [usual, meanwhile].map(all => percentile(all, 0.99).toFixed(1)).join(', then ')
  const report = `median of a ping ${first.toFixed(2)} ms, then ${then.toFixed(2)} ms, of a calm server ${calmly.toFixed(2)} ms; 99 % ${late}; ` +
    `memory ${half[0]} MB, at last ${half.at(-1)} MB; ${sent} messages to dead domains, ${mercutio.came.filter(isError).length} came back`
  t.comment(report)
  t.ok(then <= 2 * Math.max(first, calmly, NOISE), report)
  t.ok((half.at(-1) ?? Infinity) <= (half[0] ?? 0) * 1.25 + 40, report)
  t.ok(mercutio.came.filter(isError).length > 0, 'errors come back')
})

const isError = (stanza: Stanza): boolean => stanza.attrs['type'] === 'error'

/** Pings each good domain in turn. Returns how long each ping took, in milliseconds. */
async function round (romeo: Device, name: string): Promise<readonly number[]> {
  const took: number[] = []
  for (const domain of GOOD) {
    const id = `${name}-${domain}`
    const begun = performance.now()
    await romeo.says(xml('iq', { to: domain, type: 'get', id }, xml('ping', { xmlns: 'urn:xmpp:ping' })))
    const pong = await romeo.gets(`the pong of ${domain}`, stanza => stanza.attrs['id'] === id)
    if (pong.attrs['type'] !== 'result') throw new Error(`no pong: ${pong.toString()}`)
    took.push(performance.now() - begun)
  }
  return took
}

/**
 * Gives each bad domain a server: a quarter of them have nobody at their address, the others have one that misbehaves.
 */
async function raiseBad (t: Test, quarter: Quarter): Promise<void> {
  const addresses = await Promise.all(MANNERS.map(async manner => {
    const address = quarter.next()
    const sockets = new Set<Socket>()
    const server: Server = createServer(socket => {
      sockets.add(socket)
      socket.on('error', () => {}).on('close', () => { sockets.delete(socket) }).resume()
      manner(socket)
    })
    await new Promise<void>(resolve => { server.listen(5269, address, resolve) })
    t.teardown(async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise(resolve => { server.close(resolve) })
    })
    return address
  }))
  const nobody = quarter.next()
  for (const [n, domain] of BAD.entries()) {
    const somebody = addresses[n % addresses.length] ?? nobody
    quarter.zone.server(domain, n % 4 === 0 ? nobody : somebody, { plain: 5269 })
  }
}

function drip (socket: Socket, text: string): void {
  let at = 0
  const timer = setInterval(() => { socket.write(text[at++ % text.length] ?? ' ') }, 1000)
  socket.on('close', () => { clearInterval(timer) })
}

function flood (socket: Socket, text: string): void {
  const more = (): void => { if (!socket.destroyed) socket.write(text.repeat(100), () => { setImmediate(more) }) }
  more()
}

/** Returns the memory of the server's process, in megabytes. */
function memoryOf ({ pid }: Sestina): number {
  return Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? NaN) / 1024)
}

function percentile (all: readonly number[], part: number): number {
  return [...all].sort((a, b) => a - b)[Math.floor((all.length - 1) * part)] ?? NaN
}

function median (all: readonly number[]): number { return percentile(all, 0.5) }
