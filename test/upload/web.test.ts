/** Attacks on files over HTTP, by their numbers in the list of known vulnerabilities of servers (37 to 45). */
import { connect } from 'node:net'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { SERVICE, slot, until, uploadStage, type Slot, type UploadStage } from './stage.js'

/** Sends octets as they are, and returns the answer. */
async function raw ({ port }: Pick<UploadStage, 'port'>, octets: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let heard = ''
  socket.on('data', piece => { heard += piece.toString('latin1') })
  socket.on('error', () => {})
  socket.write(octets)
  await once(socket, 'close')
  return heard
}

async function stageWithFile (t: Parameters<typeof uploadStage>[0], how: Parameters<typeof uploadStage>[1] = {}) {
  const stage = await uploadStage(t, how)
  const romeo = await stage.s.device('romeo@capulet.lit/orchard')
  const given = await slot(romeo, 5)
  await stage.put(given, '12345')
  return { ...stage, romeo, given }
}

const idOf = ({ put }: Slot): string => put.split('/').at(-2) ?? ''

t.test('37, 41: no path leaves the folder of files, however it is encoded', async t => {
  const stage = await stageWithFile(t)
  mkdirSync(join(stage.folder, 'secret'))
  writeFileSync(join(stage.folder, 'secret', 'a.txt'), 'a secret of Verona')
  writeFileSync(join(stage.folder, 'a.txt'), 'a secret of Verona')
  const base = `/upload/${SERVICE}`
  const ups = ['..', '%2e%2e', '%2E.', '..%2f..', '..%5c..', '%252e%252e', '%u002e%u002e', '..;', '%c0%ae%c0%ae', '....//', '.%00.', 'secret', '../secret', '%2e%2e%2f' + 'secret']
  const paths = ups.flatMap(up => [`${base}/${up}/a.txt`, `${base}/${up}/secret/a.txt`, `${base}/${idOf(stage.given)}/${up}`, `/upload/${up}/${idOf(stage.given)}/a.txt`])
  for (const path of [...paths, `/${SERVICE}/${idOf(stage.given)}/a.txt`, `${base}//${idOf(stage.given)}/a.txt`, `${base}/${idOf(stage.given)}/a.txt/`, `${base}/${idOf(stage.given)}/A.TXT`, `${base.toUpperCase()}/${idOf(stage.given)}/a.txt`]) {
    const answer = await raw(stage, `GET ${path} HTTP/1.1\r\nHost: ${SERVICE}\r\nConnection: close\r\n\r\n`)
    t.match(answer, /^HTTP\/1\.1 40[04] /, path)
    t.notMatch(answer, 'secret of Verona', path)
  }
})

t.test('37: a file is sent only with the signature of its own slot', async t => {
  const { s, romeo, ask, put } = await stageWithFile(t)
  const [mine, other] = [await slot(romeo, 5), await slot(await s.device('juliet@capulet.lit/balcony'), 5)]
  const authorization = mine.headers['Authorization'] ?? ''
  const [head = '', mac = ''] = authorization.replace('Bearer ', '').split('.')
  const claim = JSON.parse(Buffer.from(head, 'base64url').toString()) as Readonly<Record<string, unknown>>
  const forged = Buffer.from(JSON.stringify({ ...claim, until: 9e15 })).toString('base64url')
  const wrong = ['', 'Bearer', 'Bearer .', `Bearer ${head}`, `Bearer ${head}.`, `Bearer ${forged}.${mac}`, `Bearer ${head}.${mac.slice(1)}`, `Bearer ${head}.${mac}A`, `Basic ${head}.${mac}`, other.headers['Authorization'] ?? '', `Bearer ${'A'.repeat(12_000)}`]
  for (const value of wrong) {
    t.match(await ask(mine.put, { method: 'PUT', headers: { authorization: value }, body: '12345' }), { status: 403 }, value.slice(0, 60))
  }
  t.equal((await ask(mine.put, { method: 'PUT', body: '12345' })).status, 403)
  t.equal((await put(mine, '12345')).status, 201)
})

t.test('37: no other method does anything', async t => {
  const { ask, given } = await stageWithFile(t)
  for (const method of ['POST', 'DELETE', 'PATCH']) {
    t.match(await ask(given.get, { method, headers: given.headers }), { status: 405, headers: { allow: 'OPTIONS, PUT, GET, HEAD' } }, method)
  }
  t.equal((await ask(given.get)).body, '12345')
})

t.test('38: nothing in an upload makes the server fetch anything: addresses in names are names', async t => {
  const { romeo, put, ask } = await stageWithFile(t)
  const given = await slot(romeo, 2, 'http://169.254.169.254/latest/meta-data')
  t.match(given.put, /\/meta-data$/)
  await put(given, 'hi')
  t.equal((await ask(given.get)).body, 'hi')
})

t.test('39: pages, scripts and pictures with scripts are saved, never shown, and may run nothing', async t => {
  const { romeo, put, ask } = await stageWithFile(t)
  const types = ['text/html', 'image/svg+xml', 'application/xhtml+xml', 'text/xml', 'application/xml', 'text/javascript', 'application/pdf', 'application/x-shockwave-flash', 'multipart/x-mixed-replace', 'text/css']
  for (const type of types) {
    const given = await slot(romeo, 25, 'a.html', `content-type='${type}'`)
    t.equal((await put(given, '<script>alert(1)</script>')).status, 201, type)
    const { headers } = await ask(given.get)
    t.match(headers, { 'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox", 'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY' }, type)
    t.match(headers['content-disposition'], /^attachment; /, type)
  }
  const shown = await slot(romeo, 2, 'a.png', "content-type='image/png'")
  await put(shown, 'hi')
  t.match((await ask(shown.get)).headers['content-disposition'], /^inline; /)
})

t.test('39: no name of a file breaks out of its header', async t => {
  const { romeo, put, ask } = await stageWithFile(t)
  for (const name of ['a"; filename="b.exe', 'a&#13;&#10;Set-Cookie: x=1', 'a\\"b', "a'b;c=d", '\u2028x', 'Ω.html']) {
    const given = await slot(romeo, 2, name.replace(/'/g, '&apos;'))
    t.equal((await put(given, 'hi')).status, 201, name)
    const { headers } = await ask(given.get)
    t.equal(headers['set-cookie'], undefined)
    t.match(headers['content-disposition'], /^attachment; filename=(?:"(?:[^"\\\r\n]|\\.)*"|[\w.-]+)(?:; filename\*=UTF-8''[\w%.~!#$&+^`|-]*)?$/, name)
  }
})

t.test('scripts of all pages may send and read files, or those of listed pages alone', async t => {
  const origin = 'https://chat.example.org'
  const { ask, given } = await stageWithFile(t)
  t.match(await ask(given.put, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'PUT' } }), { status: 204, headers: {
    'access-control-allow-origin': '*', 'access-control-allow-methods': 'PUT, GET, HEAD', 'access-control-allow-headers': 'Authorization, Content-Type',
  } })
  const listed = await stageWithFile(t, { origins: [origin] })
  t.match(await listed.ask(listed.given.get, { headers: { origin } }), { status: 200, headers: { 'access-control-allow-origin': origin, 'vary': 'origin' } })
  t.equal((await listed.ask(listed.given.get, { headers: { origin: 'https://evil.example' } })).status, 403)
  t.equal((await listed.ask(listed.given.get)).status, 200, 'without a page, anybody who has the address')
})

t.test('a body whose end is not clear is refused before it is read (request smuggling)', async t => {
  const stage = await stageWithFile(t)
  const { romeo, files } = stage
  const given = await slot(romeo, 5)
  const head = `PUT ${new URL(given.put).pathname} HTTP/1.1\r\nHost: ${SERVICE}\r\nAuthorization: ${given.headers['Authorization'] ?? ''}\r\n`
  for (const more of ['Transfer-Encoding: chunked\r\n', 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', 'Content-Length: 5\r\nContent-Length: 6\r\n', 'Content-Length: +5\r\n', 'Content-Length: 5, 5\r\n', 'Content-Length : 5\r\n', 'Transfer-Encoding: x-chunked\r\n']) {
    const answer = await raw(stage, `${head}${more}\r\n5\r\nhello\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n`)
    t.match(answer, /^HTTP\/1\.1 4\d\d /, more)
    t.equal(answer.match(/HTTP\/1\.1 /g)?.length, 1, `one answer: ${more}`)
  }
  t.equal(files().length, 1, 'nothing was stored')
})

t.test('42: two slots have nothing in common, and the address of a file does not let anybody send', async t => {
  const { romeo, ask } = await stageWithFile(t)
  const [one, other] = [await slot(romeo, 5), await slot(romeo, 5)]
  t.not(idOf(one), idOf(other))
  t.not(one.headers['Authorization'], other.headers['Authorization'])
  t.notMatch(one.get, (one.headers['Authorization'] ?? '').slice(7, 40))
  t.equal((await ask(one.get, { method: 'PUT', body: '12345' })).status, 403)
})

t.test('43: no line of the log holds the header or the address of a slot', async t => {
  const { s, romeo, put } = await stageWithFile(t)
  const given = await slot(romeo, 5, 'letter to juliet.txt')
  await put(given, '12345')
  const log = JSON.stringify(s.lines)
  for (const secret of [given.headers['Authorization'] ?? '', given.put, 'letter to juliet', 'letter%20to']) t.notMatch(log, secret)
})

t.test('45: forwarded headers change nothing about a file', async t => {
  const { ask, given } = await stageWithFile(t)
  const headers = { 'x-forwarded-for': '127.0.0.1', 'x-original-url': '/health', 'x-rewrite-url': '/health', 'x-http-method-override': 'DELETE', 'forwarded': 'for=127.0.0.1' }
  t.match(await ask(given.get, { headers }), { status: 200, body: '12345' })
})

t.test('an account has a bounded number of files that come at the same time', async t => {
  const stage = await stageWithFile(t)
  const { romeo, port, files, put } = stage
  const sockets = await Promise.all(Array.from({ length: 10 }, async () => {
    const given = await slot(romeo, 5, 'b.txt')
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(`PUT ${new URL(given.put).pathname} HTTP/1.1\r\nHost: ${SERVICE}\r\nAuthorization: ${given.headers['Authorization'] ?? ''}\r\nContent-Length: 5\r\n\r\n1`)
    return socket
  }))
  await until(() => files().length === 11)
  const last = await slot(romeo, 5)
  t.match(await put(last, '12345'), { status: 503, headers: { 'retry-after': '10' } })
  for (const socket of sockets) socket.destroy()
  await until(() => files().length === 1)
  t.equal((await put(last, '12345')).status, 201)
})
