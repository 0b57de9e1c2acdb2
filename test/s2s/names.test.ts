/** DNS answers and the names in certificates: both come from strangers. */
import { createSocket } from 'node:dgram'
import { createServer, type Socket } from 'node:net'
import { GeneralName } from '@peculiar/asn1-x509'
import packet, { type Answer, type Packet } from 'dns-packet'
import t, { type Test } from 'tap'
import { CachedDns } from '../../lib/s2s/connect/dns-cache.js'
import { DnsClient, DnsError, type Dns, type DnsAnswer, type RecordType } from '../../lib/s2s/connect/dns-client.js'
import { DnsResolver, NoServer, serverOf, systemServers } from '../../lib/s2s/connect/resolve.js'
import { addressOf, asciiOf } from '../../lib/s2s/ground/domain.js'
import { distrust, isFor, namesOf } from '../../lib/s2s/trust/certificate-names.js'
import { makeAuthority, otherName, utf8, XMPP_ADDRESS } from '../auth/authority.js'
import { FakeClock } from '../fake-clock.js'

const SRV_NAME = '1.3.6.1.5.5.7.8.7'

/** The answers of a DNS server: packets, or bytes. */
type Reply = (asked: Asked) => readonly (Packet | Buffer)[]
interface Asked { readonly id: number, readonly name: string, readonly type: RecordType, readonly overTcp: boolean }

function answer ({ id, name, type }: Pick<Asked, 'id' | 'name' | 'type'>, answers: Answer[], more: Partial<Packet> = {}): Packet {
  const flags = packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE
  return { type: 'response', id, flags, questions: [{ name, type, class: 'IN' }], answers, ...more }
}

function a (name: string, data: string, ttl = 60): Answer { return { type: 'A', name, ttl, data } }
function alias (name: string, data: string, ttl = 60): Answer { return { type: 'CNAME', name, ttl, data } }
interface Place { readonly port?: number, readonly priority?: number, readonly weight?: number }
function srv (name: string, target: string, more: Place = {}): Answer {
  return { type: 'SRV', name, ttl: 60, data: { target, port: 5269, priority: 1, weight: 0, ...more } }
}

function tlsa (name: string, count: number): Answer[] {
  return Array.from({ length: count }, (_, n) => ({ type: 'TLSA', name, ttl: 60, data: { usage: 3, selector: 1, matchingType: 1, certificate: Buffer.alloc(32, n) } }))
}

/** Starts a DNS server on one port for UDP and TCP, and a client of it. */
async function stage (
  t: Test, reply: Reply, how: { readonly tcp?: (socket: Socket, wanted: Buffer) => void } = {},
): Promise<Stage> {
  const clock = new FakeClock()
  const stage = { clock, asked: 0, overTcp: 0 }
  const encoded = (one: Packet | Buffer): Buffer => Buffer.isBuffer(one) ? one : packet.encode(one)
  const asked = (message: Buffer, overTcp: boolean): Asked => {
    const { id = 0, questions = [] } = packet.decode(message)
    return { id, name: questions[0]?.name ?? '', type: questions[0]?.type as RecordType, overTcp }
  }
  const tcp = createServer(socket => {
    stage.overTcp++
    socket.on('error', () => {})
    socket.once('data', data => {
      if (how.tcp !== undefined) { how.tcp(socket, data); return }
      for (const one of reply(asked(data.subarray(2), true))) {
        const bytes = encoded(one)
        const length = Buffer.from([bytes.length >> 8, bytes.length & 0xff])
        socket.write(length.subarray(0, 1)) // in pieces, as a network may
        socket.write(Buffer.concat([length.subarray(1), bytes]))
      }
    })
  })
  await new Promise<void>(resolve => { tcp.listen(0, '127.0.0.1', resolve) })
  const bound = tcp.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  const udp = createSocket('udp4')
  udp.on('message', (message, from) => {
    stage.asked++
    for (const one of reply(asked(message, false))) udp.send(encoded(one), from.port, from.address)
  })
  await new Promise<void>(resolve => { udp.bind(port, '127.0.0.1', resolve) })
  t.teardown(() => { udp.close(); tcp.close() })
  return Object.assign(stage, { client: new DnsClient({ clock, servers: [{ address: '127.0.0.1', port }] }), port })
}
interface Stage {
  readonly clock: FakeClock
  asked: number
  overTcp: number
  readonly client: DnsClient
  readonly port: number
}

async function fails (t: Test, work: Promise<unknown>, how: new (message: string) => Error, why = `fails with ${how.name}`): Promise<void> {
  t.ok(await work.then(() => undefined, (error: unknown) => error) instanceof how, why)
}

/** Lets the client's time pass until it gives up, as its sockets do not depend on the fake clock. */
async function withTime<T> (clock: FakeClock, work: Promise<T>): Promise<T> {
  let isDone = false
  const done = (): void => { isDone = true }
  work.then(done, done)
  while (!isDone) {
    for (let turn = 0; turn < 20; turn++) await new Promise(resolve => { setImmediate(resolve) })
    if (clock.timers > 0) clock.pass(1000)
  }
  return await work
}

void t.test('a DNS answer has the records of the name that was asked, their TTL, and whether DNSSEC validated them', async t => {
  const { client, clock } = await stage(t, asked => [answer(asked, [a(asked.name, '192.0.2.7', 300), a('other.test', '192.0.2.66')],
    { flags: packet.AUTHENTIC_DATA })])
  const found = await client.query('xmpp.capulet.test', 'A')
  t.match(found, { secure: true, ttl: 300_000, records: [{ data: '192.0.2.7' }] })
  t.equal(found.records.length, 1, 'additional records of another name are not trusted')
  t.equal(clock.timers, 0)
})

void t.test('packets that do not match the query are ignored, and the right answer is waited for', async t => {
  const { client } = await stage(t, asked => [
    Buffer.from('this is no packet'),
    Buffer.alloc(0),
    answer({ ...asked, id: asked.id ^ 1 }, [a(asked.name, '192.0.2.66')]),
    answer({ ...asked, name: 'other.test' }, [a(asked.name, '192.0.2.66')]),
    answer({ ...asked, type: 'AAAA' }, [a(asked.name, '192.0.2.66')]),
    answer(asked, [a(asked.name, '192.0.2.66')], { questions: [] }),
    answer(asked, [a(asked.name, '192.0.2.66')], { questions: [{ name: asked.name, type: asked.type }, { name: 'other.test', type: 'A' }] }),
    { ...answer(asked, [a(asked.name, '192.0.2.66')]), type: 'query' },
    answer(asked, [a(asked.name, '192.0.2.7')]),
  ])
  t.match((await client.query('capulet.test', 'A')).records, [{ data: '192.0.2.7' }])
})

void t.test('a query fails after too many wrong answers, as the sender may be guessing', async t => {
  const { client, clock } = await stage(t, asked => Array.from({ length: 40 }, (_, n) => answer({ ...asked, id: asked.id ^ (n + 1) }, [a(asked.name, '192.0.2.66')])))
  await t.rejects(withTime(clock, client.query('capulet.test', 'A')), { message: 'too many wrong answers' })
})

void t.test('an answer from an address that was not asked is ignored', async t => {
  const liar = createSocket('udp4')
  t.teardown(() => { liar.close() })
  await new Promise<void>(resolve => { liar.bind(0, '127.0.0.2', resolve) })
  const clock = new FakeClock()
  const udp = createSocket('udp4')
  t.teardown(() => { udp.close() })
  await new Promise<void>(resolve => { udp.bind(0, '127.0.0.1', resolve) })
  udp.on('message', (message, from) => {
    const { id = 0 } = packet.decode(message)
    const asked = { id, name: 'capulet.test', type: 'A' as const }
    liar.send(packet.encode(answer(asked, [a('capulet.test', '192.0.2.66')])), from.port, from.address, () => {
      udp.send(packet.encode(answer(asked, [a('capulet.test', '192.0.2.7')])), from.port, from.address)
    })
  })
  const client = new DnsClient({ clock, servers: [{ address: '127.0.0.1', port: udp.address().port }] })
  t.match((await client.query('capulet.test', 'A')).records, [{ data: '192.0.2.7' }])
})

void t.test('each query has its own id and port', async t => {
  const ids = new Set<number>()
  const { client } = await stage(t, asked => { ids.add(asked.id); return [answer(asked, [a(asked.name, '192.0.2.7')])] })
  for (let n = 0; n < 20; n++) await client.query(`c${n}.test`, 'A')
  t.ok(ids.size >= 18)
})

void t.test('a truncated answer is asked for again over TCP', async t => {
  const s = await stage(t, asked => asked.overTcp
    ? [answer(asked, Array.from({ length: 60 }, (_, n) => a(asked.name, `192.0.2.${n}`)))]
    : [answer(asked, [], { flags: packet.TRUNCATED_RESPONSE })])
  t.equal((await s.client.query('capulet.test', 'A')).records.length, 60)
  t.equal(s.overTcp, 1)
})

void t.test('of an absurd answer few records are kept, the SRV records with the lowest priority, and nothing of its packet', async t => {
  const target = `${'x'.repeat(60)}.test`
  const many = (n: number): Answer[] => [
    ...Array.from({ length: n }, (_, i) => srv('capulet.test', target, { priority: 10, port: 1000 + i })), srv('CAPULET.test', 'best.test', { priority: 1 }),
  ]
  const s = await stage(t, asked => asked.overTcp
    ? [answer(asked, asked.type === 'TLSA' ? tlsa(asked.name, Number(asked.name.slice(1, 3))) : many(120))]
    : [answer(asked, [], { flags: packet.TRUNCATED_RESPONSE })])
  const { records } = await s.client.query('capulet.test', 'SRV')
  t.equal(records.length, 64)
  t.match(records[0], { name: 'capulet.test', data: { target: 'best.test' } })
  t.match(records[63], { name: 'capulet.test', data: { port: 1062 } })
  const { records: certificates } = await s.client.query('_20._tcp.test', 'TLSA')
  t.equal(certificates.length, 20)
  for (const record of certificates) if (record.type === 'TLSA') t.equal(record.data.certificate.buffer.byteLength, record.data.certificate.length)
  await t.rejects(withTime(s.clock, s.client.query('_90._tcp.test', 'TLSA')), { message: 'too many TLSA records' }, 'a part of these would refuse a good certificate')
})

void t.test('an answer that takes long to decode is not decoded', async t => {
  const long = `${'a.'.repeat(120)}test`
  const records = (name: string): Answer[] => name === 'many.test'
    ? Array.from({ length: 600 }, () => a(name, '192.0.2.7'))
    : Array.from({ length: 80 }, () => a(long, '192.0.2.7'))
  const s = await stage(t, asked => asked.overTcp
    ? [answer(asked, records(asked.name))]
    : [answer(asked, [], { flags: packet.TRUNCATED_RESPONSE })])
  await t.rejects(withTime(s.clock, s.client.query('large.test', 'A')), { message: 'the DNS answer is too large' })
  await t.rejects(withTime(s.clock, s.client.query('many.test', 'A')), { message: 'a wrong answer' })
})

void t.test('over TCP a wrong answer, silence, an endless answer and a closed connection are errors, and end the query', async t => {
  const truncated: Reply = asked => [answer(asked, [], { flags: packet.TRUNCATED_RESPONSE })]
  const cases: Readonly<Record<string, (socket: Socket, wanted: Buffer) => void>> = {
    'a wrong answer': socket => { socket.write(packet.streamEncode(answer({ id: 1, name: 'x.test', type: 'A' }, []))) },
    'the DNS server did not answer over TCP': () => {},
    'the DNS server closed the connection': socket => { socket.end() },
  }
  for (const [message, tcp] of Object.entries(cases)) {
    const { client, clock } = await stage(t, truncated, { tcp })
    await t.rejects(withTime(clock, client.query('capulet.test', 'A')), { message })
    t.equal(clock.timers, 0)
  }
  const { client, clock } = await stage(t, truncated, {
    tcp: socket => {
      socket.write(Buffer.from([0xff, 0xff]))
      const more = (): void => { if (!socket.destroyed) socket.write(Buffer.alloc(1), () => { setImmediate(more) }) }
      more()
    },
  })
  await fails(t, withTime(clock, client.query('capulet.test', 'A')), DnsError, 'a drop at a time gets no more time')
})

void t.test('a DNS server that fails, refuses or is silent is an error; "no such name" is an answer', async t => {
  for (const code of [1, 2, 5]) {
    const { client } = await stage(t, asked => [answer(asked, [], { flags: code })])
    await t.rejects(client.query('capulet.test', 'A'), { message: `the DNS server answered with error ${code}` })
  }
  const silent = await stage(t, () => [])
  await t.rejects(withTime(silent.clock, silent.client.query('capulet.test', 'A')), { message: 'the DNS server did not answer' })
  t.equal(silent.asked, 2, 'it was asked twice')
  const soa: Answer = { type: 'SOA', name: 'test', ttl: 900, data: { mname: 'ns.test', rname: 'x.test', serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 120 } }
  const none = await stage(t, asked => [answer(asked, [], { flags: 3, authorities: [soa] })])
  t.match(await none.client.query('capulet.test', 'A'), { records: [], ttl: 120_000 })
  const bare = await stage(t, asked => [answer(asked, [])])
  t.match(await bare.client.query('capulet.test', 'A'), { records: [], ttl: 300_000 })
  await t.rejects(new DnsClient({ clock: new FakeClock(), servers: [] }).query('x.test', 'A'), { message: 'no DNS server is configured' })
})

void t.test('if a DNS server does not answer, the next one is asked', async t => {
  const good = await stage(t, asked => [answer(asked, [a(asked.name, '192.0.2.7')])])
  const bad = await stage(t, asked => [answer(asked, [], { flags: 2 })])
  const client = new DnsClient({ clock: new FakeClock(), servers: [bad, good].map(({ port }) => ({ address: '127.0.0.1', port })) })
  t.match((await client.query('capulet.test', 'A')).records, [{ data: '192.0.2.7' }])
})

void t.test('aliases are followed, in any order and case; a loop of them, or too many, give no records', async t => {
  const chain = await stage(t, asked => [answer(asked, [a('C.test', '192.0.2.7', 90), alias('b.test', 'c.test', 30), alias('A.test', 'B.TEST', 45)])])
  t.match(await chain.client.query('a.test', 'A'), { records: [{ data: '192.0.2.7' }], ttl: 30_000 })
  const loop = await stage(t, asked => [answer(asked, [alias('a.test', 'b.test'), alias('b.test', 'a.test')])])
  t.match(await loop.client.query('a.test', 'A'), { records: [] })
  const long = await stage(t, asked => [answer(asked, [
    ...Array.from({ length: 20 }, (_, n) => alias(n === 0 ? 'a.test' : `a${n}.test`, `a${n + 1}.test`)), a('a20.test', '192.0.2.66'),
  ])])
  t.match(await long.client.query('a.test', 'A'), { records: [] })
})

void t.test('no answer is cached for less than a second or longer than a day', async t => {
  const { client } = await stage(t, asked => [answer(asked, [a(asked.name, '192.0.2.7', asked.name === 'short.test' ? 0 : 2 ** 31 - 1)])])
  t.equal((await client.query('short.test', 'A')).ttl, 1000)
  t.equal((await client.query('long.test', 'A')).ttl, 86_400_000)
})

void t.test('at most 200 queries are open at a time: 5000 more wait, and the rest fail', async t => {
  let open = 0
  let most = 0
  const { client } = await stage(t, asked => {
    most = Math.max(most, ++open)
    setImmediate(() => { open-- })
    return [answer(asked, [])]
  })
  const all = await Promise.allSettled(Array.from({ length: 5300 }, (_, n) => client.query(`d${n}.test`, 'A')))
  const failed = all.filter(({ status }) => status === 'rejected')
  t.equal(failed.length, 100)
  t.match(failed[0], { reason: { message: 'too many DNS queries' } })
  t.ok(most <= 200)
})

// ---- The cache ----------------------------------------------------------------------------

class Told implements Dns {
  readonly asked: string[] = []
  readonly answers = new Map<string, DnsAnswer | Error>()
  says (name: string, type: RecordType, records: readonly Answer[], more: Partial<DnsAnswer> = {}): void {
    this.answers.set(`${type} ${name}`, { records, ttl: 60_000, secure: false, ...more })
  }

  query (name: string, type: RecordType): Promise<DnsAnswer> {
    this.asked.push(`${type} ${name}`)
    const found = this.answers.get(`${type} ${name}`) ?? { records: [], ttl: 60_000, secure: false }
    return found instanceof Error ? Promise.reject(found) : Promise.resolve(found)
  }
}

void t.test('an answer is cached for its TTL, a failure for five seconds; a name has one open query at a time', async t => {
  const told = new Told()
  const clock = new FakeClock()
  const dns = new CachedDns(told, clock)
  told.says('a.test', 'A', [a('a.test', '192.0.2.7')])
  await Promise.all([dns.query('a.test', 'A'), dns.query('a.test', 'A')])
  await dns.query('a.test', 'A')
  t.equal(told.asked.length, 1)
  clock.pass(60_001)
  await dns.query('a.test', 'A')
  t.equal(told.asked.length, 2)
  told.answers.set('A bad.test', new DnsError('no'))
  await fails(t, dns.query('bad.test', 'A'), DnsError)
  await fails(t, dns.query('bad.test', 'A'), DnsError)
  t.equal(told.asked.length, 3)
  clock.pass(5001)
  await fails(t, dns.query('bad.test', 'A'), DnsError)
  t.equal(told.asked.length, 4)
  t.equal(dns.size, 2)
  told.says('none.test', 'A', [], { ttl: 2000 })
  await dns.query('none.test', 'A')
  clock.pass(1999)
  await dns.query('none.test', 'A')
  t.equal(told.asked.length, 5, 'the absence of records is cached for its own TTL')
  clock.pass(2)
  await dns.query('none.test', 'A')
  t.equal(told.asked.length, 6)
  told.answers.set('A odd.test', new Error('a defect'))
  await t.rejects(dns.query('odd.test', 'A'), { message: 'a defect' })
  await t.rejects(dns.query('odd.test', 'A'), { message: 'a defect' })
  t.equal(told.asked.length, 8, 'an error that says nothing about DNS is not cached')
})

void t.test('the DNS cache is bounded in bytes: large answers of one domain leave few others, and usual ones all fit', async t => {
  const told = new Told()
  const dns = new CachedDns(told, new FakeClock())
  const mib = 1024 * 1024
  for (let n = 0; n < 9000; n++) {
    told.says(`n${n}.test`, 'A', [a(`n${n}.test`, '192.0.2.7'), a(`n${n}.test`, '192.0.2.8')])
    await dns.query(`n${n}.test`, 'A')
  }
  t.equal(dns.size, 9000)
  t.ok(dns.bytes < 16 * mib, `${dns.bytes} bytes`)
  for (let n = 0; n < 3000; n++) {
    told.says(`evil${n}.test`, 'SRV', Array.from({ length: 64 }, () => srv('x', 'y'.repeat(250))))
    await dns.query(`evil${n}.test`, 'SRV')
  }
  t.ok(dns.size < 1000, `${dns.size} answers`)
  t.ok(dns.bytes > 15 * mib && dns.bytes <= 16 * mib, `${dns.bytes} bytes`)
  for (const type of ['AAAA', 'TLSA'] as const) {
    const before = dns.bytes
    told.says('large.test', type, type === 'AAAA' ? [{ type, name: 'x', ttl: 60, data: '2001:db8::7' }] : tlsa('x', 60))
    await dns.query('large.test', type)
    t.not(dns.bytes, before, `${type} counts`)
  }
  told.answers.set('A bad.test', new DnsError('no'))
  await fails(t, dns.query('bad.test', 'A'), DnsError)
})

void t.test('of many SRV records, those with the lowest priority are used', async t => {
  const told = new Told()
  told.says('_xmpp-server._tcp.capulet.test', 'SRV', [
    ...Array.from({ length: 20 }, (_, n) => srv('x', `s${n}.test`, { priority: 10 })), srv('x', 'best.test', { priority: 1 }),
  ])
  for (const name of ['best.test', 's0.test']) told.says(name, 'A', [a(name, '192.0.2.7')])
  t.match(await resolver(told).resolve('capulet.test'), [{ host: 'best.test' }, { host: 's0.test' }])
})

void t.test('the DNS cache is bounded in answers', async t => {
  const told = new Told()
  const dns = new CachedDns(told, new FakeClock())
  for (let n = 0; n < 10_050; n++) await dns.query(`n${n}.test`, 'A')
  t.equal(dns.size, 10_000)
  let go: (() => void) | undefined
  const gate = new Promise<void>(resolve => { go = resolve })
  const late: Dns = { query: () => gate.then(() => ({ records: [], ttl: 1, secure: false })) }
  const slow = new CachedDns(late, new FakeClock())
  const all = Array.from({ length: 10_001 }, (_, n) => slow.query(`n${n}.test`, 'A'))
  t.equal(slow.size, 10_000)
  go?.()
  t.equal((await Promise.all(all)).length, 10_001, 'a query whose place was needed goes on')
  t.equal(slow.size, 10_000)
})

// ---- From records to targets -------------------------------------------------------------------

function resolver (told: Told, below: (bound: number) => number = () => 0): DnsResolver {
  return new DnsResolver(told, { below })
}

void t.test('SRV records of both kinds are one list, by priority, then at random by weight', async t => {
  const told = new Told()
  told.says('_xmpp-server._tcp.capulet.test', 'SRV', [srv('x', 'b.test.', { priority: 20 }), srv('x', 'a.test', { priority: 10, weight: 10 })])
  told.says('_xmpps-server._tcp.capulet.test', 'SRV', [srv('x', 'd.test', { priority: 10, weight: 90, port: 5270 })])
  for (const name of ['a.test', 'b.test', 'd.test']) told.says(name, 'A', [a(name, `192.0.2.${name.charCodeAt(0)}`)])
  const order = async (chance: number): Promise<string> => (await resolver(told, () => chance).resolve('capulet.test')).map(({ host }) => host).join(' ')
  t.equal(await order(5), 'a.test d.test b.test')
  t.equal(await order(11), 'd.test a.test b.test')
  const [first, second] = await resolver(told, () => 11).resolve('capulet.test')
  t.match(first, { host: 'd.test', port: 5270, tls: 'direct', address: '192.0.2.100' })
  t.match(second, { tls: 'required', port: 5269 })
})

void t.test('a target of "." says that there is no server, with no fallback; without SRV, the domain is its own server', async t => {
  const told = new Told()
  told.says('_xmpp-server._tcp.capulet.test', 'SRV', [srv('x', '.', { port: 0 })])
  told.says('capulet.test', 'A', [a('capulet.test', '192.0.2.7')])
  await fails(t, resolver(told).resolve('capulet.test'), NoServer)
  told.answers.delete('SRV _xmpp-server._tcp.capulet.test')
  t.same(await resolver(told).resolve('capulet.test'), [{ host: 'capulet.test', address: '192.0.2.7', port: 5269, tls: 'required', secure: false }])
  await fails(t, resolver(told).resolve('nobody.test'), NoServer)
})

void t.test('if DNS fails, the error is temporary; if one kind of record can be looked up, that is used', async t => {
  const told = new Told()
  const trouble = new DnsError('the DNS server did not answer')
  told.answers.set('SRV _xmpp-server._tcp.capulet.test', trouble)
  told.answers.set('SRV _xmpps-server._tcp.capulet.test', trouble)
  await fails(t, resolver(told).resolve('capulet.test'), DnsError)
  told.says('_xmpps-server._tcp.capulet.test', 'SRV', [srv('x', 'a.test', { port: 5270 })])
  told.answers.set('A a.test', trouble)
  told.answers.set('AAAA a.test', trouble)
  await fails(t, resolver(told).resolve('capulet.test'), DnsError)
  told.says('a.test', 'AAAA', [{ type: 'AAAA', name: 'a.test', ttl: 60, data: '2001:db8::7' }])
  t.match(await resolver(told).resolve('capulet.test'), [{ address: '2001:db8::7', tls: 'direct' }])
  // Only the lookup for direct TLS fails, and there is no other record: the answer for STARTTLS alone allows the
  // fallback.
  told.says('_xmpp-server._tcp.half.test', 'SRV', [])
  told.answers.set('SRV _xmpps-server._tcp.half.test', trouble)
  told.says('half.test', 'A', [a('half.test', '192.0.2.9')])
  t.match(await resolver(told).resolve('half.test'), [{ address: '192.0.2.9', port: 5269 }])
})

void t.test('the targets of a domain are bounded; addresses alternate between families, IPv6 first', async t => {
  const told = new Told()
  told.says('_xmpp-server._tcp.many.test', 'SRV', Array.from({ length: 500 }, (_, n) => srv('x', `s${n}.test`)))
  for (let n = 0; n < 500; n++) told.says(`s${n}.test`, 'A', Array.from({ length: 500 }, (_, m) => a('x', `192.0.2.${m % 250}`)))
  const targets = await resolver(told).resolve('many.test')
  t.equal(targets.length, 20)
  t.ok(told.asked.length <= 2 + 2 * 16, 'no more than 16 names were looked up')
  told.says('two.test', 'A', [a('x', '192.0.2.1'), a('x', '192.0.2.2')])
  told.says('two.test', 'AAAA', [{ type: 'AAAA', name: 'x', ttl: 60, data: '2001:db8::1' }])
  t.same((await resolver(told).resolve('two.test')).map(({ address }) => address), ['2001:db8::1', '192.0.2.1', '192.0.2.2'])
  told.says('bad.test', 'A', [a('x', 'no address')])
  await fails(t, resolver(told).resolve('bad.test'), NoServer)
})

void t.test('a server in the conf comes before DNS; IDNs are looked up in ASCII form; an address is its own target', async t => {
  const told = new Told()
  told.says('hand.test', 'A', [a('x', '192.0.2.5')])
  const byHand = { host: 'hand.test', port: undefined, tls: 'direct' as const }
  t.match(await resolver(told).resolve('capulet.test', byHand), [{ address: '192.0.2.5', port: 5270, tls: 'direct' }])
  t.match(await resolver(told).resolve('capulet.test', { host: '192.0.2.6', port: 7000, tls: 'required' }), [{ address: '192.0.2.6', port: 7000 }])
  t.match(await resolver(told).resolve('192.0.2.8'), [{ address: '192.0.2.8', port: 5269 }])
  t.match(await resolver(told).resolve('[2001:db8::8]'), [{ address: '2001:db8::8' }])
  told.says('xn--bcher-kva.test', 'A', [a('x', '192.0.2.9')], { secure: true })
  t.match(await resolver(told).resolve('bücher.test'), [{ host: 'xn--bcher-kva.test', address: '192.0.2.9' }])
  t.equal(asciiOf('bücher.test'), 'xn--bcher-kva.test')
  t.equal(addressOf('capulet.test'), undefined)
  t.same(serverOf('127.0.0.1:5353'), { address: '127.0.0.1', port: 5353 })
  t.same(serverOf('[::1]:53'), { address: '::1', port: 53 })
  t.same(serverOf('::1'), { address: '::1', port: 53 })
  t.equal(serverOf('ns.test'), undefined)
  t.ok(Array.isArray(systemServers()))
})

// ---- Certificates -----------------------------------------------------------------------------------

function dnsName (dNSName: string): GeneralName { return new GeneralName({ dNSName }) }
function srvName (text: string): GeneralName { return otherName(SRV_NAME, utf8(text, 0x16)) }

void t.test('a certificate is valid for the domains that it names, as RFC 9525 reads them', async t => {
  const authority = await makeAuthority('Verona')
  const certified = async (names: readonly GeneralName[], subject = 'CN=capulet.test', addresses: readonly string[] = []): Promise<(domain: string) => boolean> => {
    const found = namesOf((await authority.issue({ names, subject, addresses })).der)
    return domain => isFor(found, domain)
  }
  const plain = await certified([dnsName('Capulet.TEST'), dnsName('rooms.capulet.test.')])
  t.ok(plain('capulet.test'))
  t.ok(plain('rooms.capulet.test'))
  t.notOk(plain('montague.test'), 'a wrong name')
  t.notOk(plain('x.capulet.test'), 'not for a subdomain')
  t.notOk(plain('test'))

  const common = await certified([])
  t.notOk(common('capulet.test'), 'the common name does not count')
  t.notOk((await certified([dnsName('other.test')]))('capulet.test'))

  const wild = await certified([dnsName('*.capulet.test')])
  t.ok(wild('rooms.capulet.test'))
  t.notOk(wild('capulet.test'), 'a wildcard is one level')
  t.notOk(wild('a.rooms.capulet.test'), 'no more than one level')
  for (const name of ['*.test', '*', '*.*.test', 'r*.capulet.test', '*rooms.capulet.test', 'rooms.*.test', '*.', 'a.*']) {
    const odd = await certified([dnsName(name)])
    t.notOk(odd('rooms.capulet.test') || odd('capulet.test'), `${name} matches nothing`)
  }

  const service = await certified([srvName('_xmpp-server.capulet.test')])
  t.ok(service('capulet.test'), 'SRV-ID')
  t.notOk((await certified([srvName('_xmpp-client.capulet.test')]))('capulet.test'), 'for another service')
  t.notOk((await certified([srvName('_imap.capulet.test')]))('capulet.test'))
  t.notOk((await certified([otherName(SRV_NAME, utf8('_xmpp-server.capulet.test'))]))('capulet.test'), 'not an IA5String')
  t.ok((await certified([srvName('_xmpp-server.*.capulet.test')]))('rooms.capulet.test'))

  t.ok((await certified([], 'CN=x', ['capulet.test']))('capulet.test'), 'XmppAddr')
  for (const address of ['juliet@capulet.test', 'capulet.test/balcony', 'no address@@', '']) {
    t.notOk((await certified([], 'CN=x', [address]))('capulet.test'), `XmppAddr ${address}`)
  }
  t.notOk((await certified([otherName(XMPP_ADDRESS, utf8('capulet.test', 0x16))]))('capulet.test'), 'XmppAddr is UTF-8')

  const idn = await certified([dnsName('xn--bcher-kva.test')])
  t.ok(idn('bücher.test'), 'an IDN is in ASCII form')
  t.ok((await certified([], 'CN=x', ['bücher.test']))('bücher.test'), 'in XmppAddr it is in Unicode form')
  t.ok((await certified([dnsName('*.xn--bcher-kva.test')]))('räume.bücher.test'))
  t.notOk((await certified([dnsName('bucher.test')]))('bücher.test'))

  const address = await certified([dnsName('192.0.2.1'), new GeneralName({ iPAddress: '192.0.2.1' })])
  t.notOk(address('192.0.2.1'), 'a DNS name does not match an address')
})

void t.test('a certificate that cannot be read, or has its names twice or by the thousand, is valid for nobody', async t => {
  const nobody = { dns: [], srv: [], xmpp: [] }
  t.same(namesOf(new Uint8Array()), nobody)
  t.same(namesOf(Buffer.from('no DER at all')), nobody)
  const authority = await makeAuthority('Verona')
  t.same(namesOf((await authority.issue({ names: [dnsName('capulet.test')], times: 2 })).der), nobody)
  const many = Array.from({ length: 1001 }, (_, n) => dnsName(`d${n}.test`))
  t.same(namesOf((await authority.issue({ names: many })).der), nobody)
})

void t.test('the reason why a certificate is not trusted is given in plain words', async t => {
  const { der } = await (await makeAuthority('Verona')).issue({ names: [dnsName('capulet.test')] })
  const tls = { protocol: 'TLSv1.3', cipher: '', alpn: undefined, certificate: der, peerCertificates: [der], authorized: true, exporter: () => der }
  t.equal(distrust(undefined, 'capulet.test'), 'the connection is not encrypted')
  t.equal(distrust({ ...tls, peerCertificates: [] }, 'capulet.test'), 'it shows no certificate')
  t.equal(distrust({ ...tls, authorized: false, distrust: 'CERT_HAS_EXPIRED' }, 'capulet.test'), 'its certificate is not trusted: it has expired')
  t.equal(distrust({ ...tls, authorized: false, distrust: 'SOMETHING_ELSE' }, 'capulet.test'), 'its certificate is not trusted: SOMETHING_ELSE')
  t.equal(distrust({ ...tls, authorized: false }, 'capulet.test'), 'its certificate is not trusted: the reason is not known')
  t.equal(distrust(tls, 'montague.test'), 'its certificate is not valid for montague.test')
  t.equal(distrust(tls, 'capulet.test'), undefined)
})
