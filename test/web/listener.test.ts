/** The listener of the web: routes, the headers of each answer, bounds, proxies, and what is no HTTP. */
import { Readable } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { once } from 'node:events'
import t from 'tap'
import { Ranges } from '../../lib/base/reach.js'
import type { WebRoute } from '../../lib/host/web-routes.js'
import { DOMAIN, OTHER } from '../c2s/stage.js'
import { until, webStage } from './stage.js'

const hello: WebRoute = {
  method: 'GET', path: '/hello', callers: 'anybody',
  answer: () => ({ status: 200, headers: { 'content-type': 'text/plain' }, body: 'Hello' }),
}
const named: WebRoute = {
  method: 'GET', path: '/named/:first/:second', callers: 'anybody',
  answer: ({ params, query, domain, address, isSecure }) =>
    ({ status: 200, body: JSON.stringify({ ...params, query, domain, address, isSecure }) }),
}
const echo: WebRoute = {
  method: 'POST', path: '/echo', callers: 'anybody', largestBody: 10, crossOrigin: { headers: ['content-type'] },
  answer: async ({ body }) => ({ status: 200, body: Buffer.concat(await body.toArray() as Buffer[]) }),
}
const get = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${more}\r\n`

t.test('a path has the answers of its routes: GET with HEAD, other methods 405, OPTIONS the list, and any other path 404', async t => {
  const { ask } = await webStage(t, { routes: [hello, echo] })
  t.match(await ask('/hello'), { status: 200, body: 'Hello', headers: { 'content-length': '5' } })
  t.match(await ask('/hello', { method: 'HEAD' }), { status: 200, body: '' })
  t.match(await ask('/hello', { method: 'DELETE' }), { status: 405, headers: { allow: 'OPTIONS, GET, HEAD' } })
  t.match(await ask('/hello', { method: 'OPTIONS' }), { status: 204, headers: { allow: 'OPTIONS, GET, HEAD' } })
  t.match(await ask('/echo', { method: 'POST', body: 'body' }), { status: 200, body: 'body' })
  for (const path of ['/', '/hell', '/hello/', '/hello/x', '//hello', '/HELLO', '/x/../hello', '/x/%2e%2e/hello', '/x/%2E%2E%2F..%2Fx', '/%2e/hello', '/hello%00', '/hello;x', '/*']) {
    t.equal((await ask(path)).status, 404, path)
  }
  for (const path of ['/%', '/%zz', '/hello%u002e', '/%u002e%u002e/hello', '/named/%c0%ae/x']) t.ok([400, 404].includes((await ask(path)).status), path)
  t.equal((await ask('/hello?a=%2e')).status, 200)
})

t.test('a route gets the parts of its path, each decoded once, and no slash within a part makes two of it', async t => {
  const { ask } = await webStage(t, { routes: [named] })
  const { body } = await ask('/named/a%2Fb/..%2f..%2fx%252fy?q=%20', { headers: { host: 'Montague.lit:443' } })
  t.same(JSON.parse(body), { first: 'a/b', second: '../../x%2fy', query: 'q=%20', domain: 'Montague.lit', address: '127.0.0.1', isSecure: true })
})

t.test('every answer has the headers against sniffing and framing, also the errors', async t => {
  const { ask } = await webStage(t, { routes: [hello] })
  for (const asked of [ask('/hello'), ask('/hello', { method: 'PUT' }), ask('/nothing'), ask('/%'), ask('/hello', { method: 'POST', body: 'x' })]) {
    t.match((await asked).headers, {
      'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY', 'content-security-policy': /default-src 'none'.*sandbox/,
      'referrer-policy': 'no-referrer', 'cross-origin-resource-policy': 'same-origin',
    })
  }
})

t.test('a route that comes is answered, one that goes is gone at once, and two with one path are a mistake', async t => {
  const { s, ask, listener } = await webStage(t)
  t.equal((await ask('/hello')).status, 404)
  const remove = s.server.routes.add(hello)
  await listener.ready()
  t.equal((await ask('/hello')).status, 200)
  t.throws(() => s.server.routes.add({ ...hello }), { message: 'two modules answer GET /hello' })
  remove()
  t.equal((await ask('/hello')).status, 404)
})

t.test('whom a route does not let in gets 403, and no byte of the body is read', async t => {
  let isRead = false
  const { ask } = await webStage(t, { routes: [
    { ...echo, callers: ({ header }) => header('x-key') === 'right', answer: ({ body }) => { isRead = true; return { status: 200, body } } },
  ] })
  t.match(await ask('/echo', { method: 'POST', body: 'body' }), { status: 403, headers: { connection: 'close' } })
  t.notOk(isRead)
  t.match(await ask('/echo', { method: 'POST', body: 'body', headers: { 'x-key': 'right' } }), { status: 200, body: 'body' })
})

t.test('a defect of a route is logged, and the client learns nothing of it', async t => {
  const { s, ask } = await webStage(t, { routes: [{ ...hello, answer: () => { throw new Error('the inside') } }] })
  s.expected.push('defect')
  const { status, body } = await ask('/hello')
  t.same([status, body], [500, ''])
  t.match(s.logged('defect')[0]?.fields['error'], { message: 'the inside' })
})

t.test('a body that is too long, of unknown length, or of which the route takes none is not read', async t => {
  const { ask, line } = await webStage(t, { routes: [hello, echo] })
  t.equal((await ask('/echo', { method: 'POST', body: 'x'.repeat(11) })).status, 413)
  t.equal((await ask('/hello', { method: 'GET', headers: { 'content-length': '3' }, body: 'xyz' })).status, 413)
  const chunked = await line()
  chunked.says('POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n')
  t.match(await chunked.end(), /^HTTP\/1\.1 411 /)
})

t.test('the script of a page may use the routes that are for browsers, from all pages unless some are listed', async t => {
  const open = await webStage(t, { routes: [hello, echo] })
  const asked = { method: 'OPTIONS', headers: { 'origin': 'https://chat.example', 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' } }
  t.match(await open.ask('/echo', asked), { status: 204, headers: {
    'access-control-allow-origin': '*', 'access-control-allow-methods': 'POST', 'access-control-allow-headers': 'content-type',
  } })
  t.equal((await open.ask('/hello', asked)).headers['access-control-allow-origin'], undefined)
  t.match((await open.ask('/echo', { method: 'POST', headers: { origin: 'https://chat.example' } })).headers,
    { 'access-control-allow-origin': '*', 'cross-origin-resource-policy': 'cross-origin' })
})

t.test('if pages are listed, the scripts of others may neither read nor call', async t => {
  const { ask } = await webStage(t, { routes: [echo], web: { origins: ['https://chat.example'] } })
  const post = (origin?: string) => ask('/echo', { method: 'POST', body: 'x', headers: origin === undefined ? {} : { origin } })
  t.match(await post('https://chat.example'), { status: 200, headers: { 'access-control-allow-origin': 'https://chat.example', 'vary': 'origin' } })
  for (const origin of ['https://evil.example', 'https://chat.example.evil.example', 'null']) {
    const { status, headers } = await post(origin)
    t.same([status, headers['access-control-allow-origin']], [403, undefined], origin)
  }
  t.equal((await post()).status, 200, 'no page is behind a request without Origin')
  const preflight = await ask('/echo', { method: 'OPTIONS', headers: { 'origin': 'https://evil.example', 'access-control-request-method': 'POST' } })
  t.equal(preflight.headers['access-control-allow-methods'], undefined)
})

for (const [title, text, status] of [
  ['no request', 'nonsense\r\n\r\n', 400],
  ['TLS on a port without it', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
  ['a header that is too long', get('/hello', `X: ${'x'.repeat(20_000)}\r\n`), 431],
  ['a request without Host', 'GET /hello HTTP/1.1\r\n\r\n', 400],
  ['two lengths', 'POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab', 400],
  ['a length and chunks', 'POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n', 400],
  ['an unknown transfer encoding', 'POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n', 400],
  ['a space before the colon', 'GET /hello HTTP/1.1\r\nHost : x\r\n\r\n', 400],
  ['a folded header', 'GET /hello HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n', 400],
  ['a line feed alone', 'GET /hello HTTP/1.1\nHost: x\n\n', 400],
  ['a negative length', 'POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n', 400],
] as const) {
  t.test(`${title} gets ${status}, and the connection ends, so nothing after it is taken for a request`, async t => {
    const { line } = await webStage(t, { routes: [hello, echo] })
    const client = await line()
    client.says(text)
    const heard = await client.end()
    t.match(heard, new RegExp(`^HTTP/1\\.1 ${status} `))
    t.equal(heard.match(/HTTP\/1\.1/g)?.length, 1)
  })
}

t.test('requests that come together are answered in their order, on one connection', async t => {
  const { line } = await webStage(t, { routes: [hello, named] })
  const client = await line()
  client.says(get('/named/a/b') + get('/hello') + get('/nothing', 'Connection: close\r\n'))
  t.match(await client.end(), /^HTTP\/1\.1 200 [^]*"first":"a"[^]*HTTP\/1\.1 200 [^]*Hello[^]*HTTP\/1\.1 404 /)
})

t.test('a client that sends many requests without waiting for answers is cut', async t => {
  const { line, listener, ask } = await webStage(t, { routes: [hello] })
  const client = await line()
  client.says(get('/hello').repeat(1000))
  const heard = await client.end()
  t.ok((heard.match(/HTTP\/1\.1 200/g)?.length ?? 0) < 1000, 'most get no answer')
  t.equal((await ask('/hello')).status, 200)
  await until(() => listener.counts.connections === 0)
})

t.test('a connection without a request, or with half of one, is cut', async t => {
  const { s, line, listener } = await webStage(t, { routes: [hello], limits: { negotiation: 30_000 } })
  const [silent, half, used] = [await line(), await line(), await line()]
  half.says('GET /hello HTTP/1.1\r\nHost: local')
  used.says(get('/hello'))
  await used.gets(/Hello$/)
  s.clock.pass(30_000)
  await Promise.all([silent.end(), half.end()])
  await until(() => listener.counts.connections === 1)
  used.says(get('/hello'))
  await used.gets(/Hello$/)
  s.clock.pass(80_000)
  await used.end()
})

t.test('a body that comes too slowly ends the connection, and one that keeps the pace does not', async t => {
  const came = new Map<string, number>()
  const { s, line } = await webStage(t, { routes: [{
    ...echo, path: '/:who', largestBody: 1_000_000,
    answer: async ({ body, params: { who = '' } }) => {
      came.set(who, 0)
      for await (const piece of body) came.set(who, (came.get(who) ?? 0) + (piece as Buffer).length)
      return { status: 200, body: 'all of it' }
    },
  }] })
  const [slow, steady] = [await line(), await line()]
  slow.says('POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n')
  steady.says('POST /steady HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n')
  await until(() => came.size === 2)
  for (let n = 1; n <= 5; n++) {
    slow.says('x')
    steady.says('x'.repeat(40_000))
    await until(() => came.get('steady') === n * 40_000 && (slow.isClosed || came.get('slow') === n))
    s.clock.pass(30_000)
  }
  t.match(await steady.gets(/all of it/), /^HTTP\/1\.1 200 /)
  await slow.end()
})

t.test('a client that does not read its answer is cut, and the body of the answer with it', async t => {
  let made = 0
  let isDestroyed = false
  const body = new Readable({
    highWaterMark: 65_536,
    read () { made++; this.push(Buffer.alloc(65_536)) },
    destroy (_error, done) { isDestroyed = true; done(null) },
  })
  const { s, line } = await webStage(t, { routes: [{ ...hello, answer: () => ({ status: 200, body }) }] })
  const client = await line()
  client.socket.pause()
  client.says(get('/hello'))
  await until(() => made > 1)
  // Each pass of the time sees whether anything was taken since the last one.
  while (!isDestroyed) {
    s.clock.pass(30_000)
    await s.settled()
  }
  t.ok(made < 1000, 'the body is made only as far as it is taken')
})

t.test('of requests that come together one body is open at a time, and it goes with the connection', async t => {
  let opened = 0
  let destroyed = 0
  const body = (): Readable => {
    opened++
    return new Readable({
      read () { this.push(Buffer.alloc(65_536)) },
      destroy (_error, done) { destroyed++; done(null) },
    })
  }
  const route = { ...hello, answer: () => ({ status: 200, body: body() }) }
  const { line, listener } = await webStage(t, { routes: [route] })
  const client = await line()
  client.says(get('/hello').repeat(20))
  await client.gets(/ 200 OK/)
  client.destroy()
  await until(() => destroyed === opened && listener.counts.connections === 0)
  t.equal(opened, 1)
})

t.test('one address may have a bounded number of connections, and a listed proxy any number', async t => {
  const proxies = { ranges: new Ranges(['127.0.0.2']), header: 'x-forwarded-for' } as const
  const { line, listener } = await webStage(t, { routes: [hello], limits: { connections: 2 }, web: { proxies } })
  const [first] = [await line(), await line()]
  await (await line()).end()
  const proxied = await Promise.all(Array.from({ length: 5 }, () => line('127.0.0.2')))
  for (const one of proxied) one.says(get('/hello'))
  for (const one of proxied) await one.gets(/Hello$/)
  t.match([...listener.turnedAway], [{ labels: { reason: 'too many from one network' }, value: 1 }])
  first.says(get('/hello'))
  await first.gets(/Hello$/)
})

t.test('HTTPS shows the certificate of the requested domain, offers http/1.1, and refuses renegotiation and other protocols', async t => {
  const { port, certificates } = await webStage(t, { routes: [hello], web: { tls: 'direct' } })
  for (const domain of [DOMAIN, OTHER]) {
    const socket = connectTls({
      port, host: '127.0.0.1', rejectUnauthorized: false, servername: domain, ALPNProtocols: ['h2', 'http/1.1'],
    })
    await once(socket, 'secureConnect')
    t.equal(socket.alpnProtocol, 'http/1.1')
    const wanted = certificates?.contextFor(domain).certificate ?? new Uint8Array()
    t.ok(socket.getPeerX509Certificate()?.raw.equals(wanted), domain)
    socket.end(get('/hello', 'Connection: close\r\n'))
    t.match(String(await socket.setEncoding('utf8').toArray()), /Hello$/)
  }
  const wrong = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['xmpp-client'] })
  const [error] = await once(wrong, 'error') as [Error]
  t.match(error.message, /alert|ECONNRESET|disconnected/)
})

t.test('a connection that ends within its handshake leaves nothing', async t => {
  const { s, line, listener } = await webStage(t, { web: { tls: 'direct' } })
  const client = await line()
  client.says('\x16\x03\x01')
  await until(() => listener.counts.connections === 1)
  s.clock.pass(60_000)
  await client.end()
  await until(() => listener.counts.connections === 0)
})

t.test('at a stop, idle connections end at once, a request under way is still answered, and then its connection ends', async t => {
  let go = (): void => {}
  const waits = new Promise<void>(resolve => { go = resolve })
  let isAsked = false
  const { line, listener } = await webStage(t, { routes: [{ ...hello, answer: async () => { isAsked = true; await waits; return { status: 200, body: 'late' } } }] })
  const [idle, busy] = [await line(), await line()]
  busy.says(get('/hello'))
  await until(() => isAsked)
  const closed = listener.close()
  await idle.end()
  go()
  t.match(await busy.end(), /late$/)
  await closed
})

t.test('a request that never ends does not hold a stop', async t => {
  let isAsked = false
  const answer = (): Promise<never> => {
    isAsked = true
    return new Promise(() => {})
  }
  const { line, listener, s } = await webStage(t, { routes: [{ ...hello, answer }] })
  const client = await line()
  client.says(get('/hello'))
  await until(() => isAsked)
  const closed = listener.close()
  await s.settled()
  s.clock.pass(6000)
  await client.end()
  await closed
})
