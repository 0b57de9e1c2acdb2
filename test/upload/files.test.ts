/** Files over HTTP: sending, reading, and what is left after a cut, a crash or a removal. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { NS } from '../../lib/xml/namespaces.js'
import { Disk } from '../../modules/upload/disk.js'
import { folderOf, uploadStores } from '../../modules/upload/uploads.js'
import { endless } from './endless.js'
import { rowsOf, SERVICE, slot, until, uploadStage, type Slot, type UploadStage } from './stage.js'
import { temporaryFolder } from '../temporary-folder.js'

const ROMEO = 'romeo@capulet.lit'

/** A stage with Romeo's device. */
async function withRomeo (t: Parameters<typeof uploadStage>[0], how: Parameters<typeof uploadStage>[1] = {}) {
  const stage = await uploadStage(t, how)
  return { ...stage, romeo: await stage.s.device(`${ROMEO}/orchard`) }
}

/** Begins to send a file, and cuts the connection after the first bytes have come. */
async function cut ({ port, files }: Pick<UploadStage, 'port' | 'files'>, { put, headers }: Slot, size: number, first: string): Promise<void> {
  const before = files().length
  const asked = request({ port, host: '127.0.0.1', path: new URL(put).pathname, method: 'PUT', headers: { ...headers, 'content-length': String(size) }, agent: false })
  asked.on('error', () => {})
  asked.write(first)
  await until(() => files().length > before)
  asked.destroy()
  await until(() => files().length === before)
}

t.test('a file is sent once and read by anybody who knows its address', async t => {
  const { s, romeo, put, ask, files } = await withRomeo(t)
  const given = await slot(romeo, 5, 'note.txt', "content-type='text/plain'")
  t.equal((await ask(given.get)).status, 404, 'there is no file yet')
  t.equal((await put(given, 'adieu', { 'content-type': 'text/plain' })).status, 201)
  const answer = await ask(given.get)
  t.match(answer, { status: 200, body: 'adieu', headers: {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': '5',
    'content-disposition': 'inline; filename="note.txt"',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
    'cross-origin-resource-policy': 'cross-origin',
    'access-control-allow-origin': '*',
    'accept-ranges': 'bytes',
    'cache-control': 'private, immutable, max-age=86400',
  } })
  const head = await ask(given.get, { method: 'HEAD' })
  t.match(head, { status: 200, body: '', headers: { 'content-length': '5', 'etag': answer.headers.etag } })
  t.equal((await put(given, 'again')).status, 409, 'a slot is good for one success')
  t.equal((await ask(given.get)).body, 'adieu')
  t.equal(files().length, 1)
  await s.settled()
})

t.test('names of all scripts, percents and spaces come back as they were', async t => {
  const { romeo, put, ask } = await withRomeo(t)
  for (const name of ['très cool.jpg', '100%.png', 'a+b&amp;c#d?e.pdf', '日本語.txt', "it's (1)!.zip", '%2e%2e']) {
    const given = await slot(romeo, 2, name.replace("'", '&apos;'))
    t.equal((await put(given, 'hi')).status, 201, name)
    t.equal((await ask(given.get)).body, 'hi')
  }
  const given = await slot(romeo, 2, 'très.jpg', "content-type='image/jpeg'")
  await put(given, 'hi')
  t.equal((await ask(given.get)).headers['content-disposition'], 'inline; filename="tr_s.jpg"; filename*=UTF-8\'\'tr%C3%A8s.jpg')
})

t.test('a part of a file is read by its range, and a known file is not sent again', async t => {
  const { romeo, put, ask } = await withRomeo(t)
  const given = await slot(romeo, 10)
  await put(given, '0123456789')
  const get = (headers: Record<string, string>) => ask(given.get, { headers })
  t.match(await get({ range: 'bytes=2-4' }), { status: 206, body: '234', headers: { 'content-range': 'bytes 2-4/10', 'content-length': '3' } })
  t.match(await get({ range: 'bytes=-2' }), { status: 206, body: '89' })
  t.match(await get({ range: 'bytes=8-' }), { status: 206, body: '89' })
  t.match(await get({ range: 'bytes=10-' }), { status: 416, headers: { 'content-range': 'bytes */10' } })
  t.match(await get({ range: 'lines=1-2' }), { status: 200, body: '0123456789' })
  const { headers: { etag = '', 'last-modified': modified = '' } } = await get({})
  t.match(await get({ 'if-none-match': etag }), { status: 304, body: '' })
  t.match(await get({ 'if-modified-since': modified }), { status: 304, body: '' })
  t.match(await get({ 'if-match': '"other"' }), { status: 412, body: '' })
  t.match(await get({ 'range': 'bytes=2-4', 'if-range': '"other"' }), { status: 200, body: '0123456789' })
  t.match(await ask(given.get, { method: 'HEAD', headers: { range: 'bytes=2-4' } }), { status: 206, body: '', headers: { 'content-length': '3' } })
})

t.test('a file of another size or type than its slot is refused, and the slot stays good', async t => {
  const { romeo, put, ask } = await withRomeo(t)
  const given = await slot(romeo, 5, 'a.png', "content-type='image/png'")
  t.equal((await put(given, 'long ago')).status, 413)
  t.equal((await put(given, 'no')).status, 400)
  t.equal((await put(given, 'x'.repeat(5), { 'content-type': 'text/html' })).status, 415)
  t.equal((await put(given, 'x'.repeat(5), { 'content-type': 'image/PNG' })).status, 201)
  t.equal((await ask(given.get)).headers['content-type'], 'image/png')
  const untyped = await slot(romeo, 5)
  await put(untyped, '12345')
  t.match(await ask(untyped.get), { headers: { 'content-type': 'application/octet-stream', 'content-disposition': 'attachment; filename="a.txt"' } })
})

t.test('a file that was cut leaves nothing, and may be sent again', async t => {
  const { s, romeo, port, files, put, ask } = await withRomeo(t)
  const given = await slot(romeo, 100_000)
  await cut({ port, files }, given, 100_000, 'x'.repeat(50_000))
  t.equal((await ask(given.get)).status, 404)
  t.equal(await rowsOf({ s }, ROMEO), 1, 'its slot is there')
  t.equal((await put(given, 'y'.repeat(100_000))).status, 201)
  t.equal((await ask(given.get)).body, 'y'.repeat(100_000))
  t.equal(files().length, 1)
})

t.test('a client that comes back before its former connection has ended takes its place', async t => {
  const { romeo, port, files, put, ask } = await withRomeo(t)
  const given = await slot(romeo, 100_000)
  const former = request({ port, host: '127.0.0.1', path: new URL(given.put).pathname, method: 'PUT', headers: { ...given.headers, 'content-length': '100000' }, agent: false })
  const isOver = new Promise(resolve => { former.on('error', resolve).on('response', resolve) })
  former.write('x')
  await until(() => files().length === 1)
  t.equal((await put(given, 'y'.repeat(100_000))).status, 201)
  await isOver
  t.equal((await ask(given.get)).body, 'y'.repeat(100_000))
  t.equal(files().length, 1)
})

t.test('a slot ends after its time, also with its signature', async t => {
  const { s, romeo, put, files } = await withRomeo(t, { settings: { slotTimeout: '60s' } })
  const given = await slot(romeo, 5)
  s.clock.pass(60_000)
  t.equal((await put(given, '12345')).status, 403)
  while (await rowsOf({ s }, ROMEO) > 0) await s.pass('1m')
  t.same(files(), [])
})

t.test('a slot whose file is still coming stays', async t => {
  const { s, romeo, port, files, ask } = await withRomeo(t, { settings: { slotTimeout: '60s' } })
  const given = await slot(romeo, 6)
  const asked = request({ port, host: '127.0.0.1', path: new URL(given.put).pathname, method: 'PUT', headers: { ...given.headers, 'content-length': '6' }, agent: false })
  const status = new Promise(resolve => { asked.on('response', ({ statusCode }) => { resolve(statusCode) }) })
  asked.write('too ')
  await until(() => files().length === 1)
  await s.pass('5m')
  asked.end('la')
  t.equal(await status, 201)
  t.equal((await ask(given.get)).body, 'too la')
})

t.test('files end after their time, those of profiles do not, and ephemeral ones when their sender wishes', async t => {
  const { s, romeo, put, ask, files } = await withRomeo(t, { settings: { expire: '1d' } })
  const before = new Date(s.clock.now() + 600_000).toISOString()
  const usual = await slot(romeo, 5)
  const profile = await slot(romeo, 5, 'a', '', `<profile xmlns='${NS.UPLOAD_PURPOSE}'/>`)
  const ephemeral = await slot(romeo, 5, 'a', '', `<ephemeral xmlns='${NS.UPLOAD_PURPOSE}' expire-before='${before}'/>`)
  for (const given of [usual, profile, ephemeral]) t.equal((await put(given, '12345')).status, 201)
  t.equal((await ask(ephemeral.get)).headers['cache-control'], 'private, immutable, max-age=600')
  s.clock.pass(600_000)
  t.equal((await ask(ephemeral.get)).status, 404, 'from that moment on')
  t.equal((await ask(usual.get)).status, 200)
  while (files().length > 2) await s.pass('1m')
  s.clock.pass(86_400_000)
  t.equal((await ask(usual.get)).status, 404)
  t.equal((await ask(profile.get)).status, 200)
  while (await rowsOf({ s }, ROMEO) > 1) await s.pass('1m')
  t.equal(files().length, 1)
})

t.test('the oldest files make room for others, and those of profiles stay', async t => {
  const { s, romeo, put, ask, files } = await withRomeo(t, { settings: { bytes: '1MiB', bytesPerAccount: '10000000B' } })
  const sent: Slot[] = []
  for (const inner of [`<profile xmlns='${NS.UPLOAD_PURPOSE}'/>`, '', '', '']) {
    const given = await slot(romeo, 400_000, 'a', '', inner)
    t.equal((await put(given, 'x'.repeat(400_000))).status, 201)
    sent.push(given)
    await s.pass('1s')
  }
  while (files().length > 2) await s.pass('1m')
  const statuses = await Promise.all(sent.map(async ({ get }) => (await ask(get, { method: 'HEAD' })).status))
  t.same(statuses, [200, 404, 404, 200])
})

t.test('no file makes room for slots that nobody has used', async t => {
  const { s, romeo, put, ask } = await withRomeo(t, { settings: { bytes: '1MiB' } })
  const given = await slot(romeo, 5)
  await put(given, '12345')
  const juliet = await s.device('juliet@capulet.lit/balcony')
  for (let n = 0; n < 3; n++) await slot(juliet, 1_000_000)
  // The service looks each minute, at last for slots that are over.
  while (await rowsOf({ s }, 'juliet@capulet.lit') > 0) await s.pass('1m')
  t.equal((await ask(given.get)).status, 200)
})

t.test('the files of an account go with it, also one that is coming, and a new owner of the name has none', async t => {
  const { s, romeo, port, put, ask, files } = await withRomeo(t)
  const given = await slot(romeo, 5)
  await put(given, '12345')
  const coming = await slot(romeo, 100_000)
  const asked = request({ port, host: '127.0.0.1', path: new URL(coming.put).pathname, method: 'PUT', headers: { ...coming.headers, 'content-length': '100000' }, agent: false })
  const isOver = new Promise(resolve => { asked.on('error', resolve).on('response', resolve) })
  asked.write('x')
  await until(() => files().length === 2)
  await s.host('capulet.lit').removeAccount(romeo.jid.bare)
  await isOver
  t.equal((await ask(given.get)).status, 404)
  await until(() => files().length === 0)
  t.equal(await rowsOf({ s }, ROMEO), 0)
  await s.settled()
  const heir = await s.device(`${ROMEO}/orchard`)
  t.equal((await put(coming, 'x'.repeat(100_000))).status, 404, 'the slot went, too')
  await put(await slot(heir, 5), '12345')
  t.equal(files().length, 1)
})

t.test('an account whose removal fails keeps its files', async t => {
  const { s, romeo, put, ask } = await withRomeo(t)
  const given = await slot(romeo, 5)
  await put(given, '12345')
  s.storage.failing = new Error('disk full')
  await t.rejects(s.host('capulet.lit').removeAccount(romeo.jid.bare))
  s.storage.failing = undefined
  t.equal((await ask(given.get)).body, '12345')
  t.equal((await put(await slot(romeo, 5), '12345')).status, 201)
})

t.test('a start removes what a crash has left: half files, and the files of removed accounts', async t => {
  const first = await withRomeo(t)
  const given = await slot(first.romeo, 5)
  await first.put(given, '12345')
  const [id = ''] = first.files()
  const home = join(first.folder, SERVICE)
  mkdirSync(join(home, 'coming'), { recursive: true })
  writeFileSync(join(home, 'coming', `${id}.9`), 'half')
  const { storage } = first.s
  await first.s.server.stop()
  const { s, files, ask } = await uploadStage(t, { folder: first.folder, scene: { storage, ids: 'next' } })
  await s.raise(['capulet.lit'])
  await until(() => files().length === 1)
  t.equal((await ask(given.get)).body, '12345', 'whole files stay')
})

t.test('a start goes on after files that cannot be removed, and a later one removes them', async t => {
  const folder = temporaryFolder(t)
  const first = await uploadStage(t, { folder })
  const leaving = await first.s.storage.open('upload.leaving', uploadStores.leaving)
  for (const owner of ['one', 'two']) {
    mkdirSync(join(folder, SERVICE, folderOf(owner)), { recursive: true })
    writeFileSync(join(folder, SERVICE, folderOf(owner), 'file'), owner)
    await leaving.put(SERVICE, owner, true)
  }
  const { storage } = first.s
  await first.s.server.stop()

  const removeAll = t.capture(Disk.prototype, 'removeAll', async function (this: Disk, name: string) {
    if (name === folderOf('one')) throw new Error('a busy folder')
    rmSync(join(folder, SERVICE, name), { recursive: true })
  })
  const second = await uploadStage(t, { folder, scene: { storage, ids: 'second' } })
  second.s.expectedErrors.push(['files of a removed account not removed', 'Error: a busy folder'])
  await second.s.raise(['capulet.lit'])
  await until(() => second.files().length === 1)
  await second.s.server.stop()
  removeAll.restore()

  const third = await uploadStage(t, { folder, scene: { storage, ids: 'third' } })
  await third.s.raise(['capulet.lit'])
  await until(() => third.files().length === 0)
})

t.test('a file that has vanished from the disk is not found, and its row can be removed', async t => {
  const { s, romeo, put, ask, folder } = await withRomeo(t)
  const given = await slot(romeo, 5)
  await put(given, '12345')
  rmSync(join(folder, SERVICE), { recursive: true })
  t.equal((await ask(given.get)).status, 404)
  t.equal(await s.host(SERVICE).commands.get('upload remove')?.([ROMEO, 'all']), '1 removed')
  t.equal(await rowsOf({ s }, ROMEO), 0)
})

t.test('the operator lists the files of an account, and removes one or all', async t => {
  const { s, romeo, put, ask, files } = await withRomeo(t)
  const given: Slot[] = []
  for (const name of ['a.txt', 'b.txt', 'c.txt']) {
    given.push(await slot(romeo, 5, name))
    await put(given[given.length - 1] as Slot, '12345')
  }
  await slot(romeo, 5, 'slot.txt')
  const { commands } = s.host(SERVICE)
  const listed = await commands.get('upload list')?.([ROMEO]) as readonly { readonly id: string, readonly name: string, readonly url: string }[]
  t.same(listed.map(({ name, url }) => [name, url]).sort(), given.map(({ get }) => [get.split('/').at(-1), get]).sort(), 'slots are not files')
  const [one] = listed
  t.equal(await commands.get('upload remove')?.([ROMEO, one?.id ?? '']), '1 removed')
  t.equal((await ask(one?.url ?? '')).status, 404)
  t.equal(await commands.get('upload remove')?.([ROMEO, 'all']), '2 removed')
  t.same(files(), [])
  await t.rejects(async () => await commands.get('upload remove')?.([ROMEO, 'all']), /item-not-found/)
  await t.rejects(async () => await commands.get('upload remove')?.([ROMEO]), /bad-request/)
})

t.test('a body is written as it comes: memory holds less than 1 MiB of it', async t => {
  const folder = temporaryFolder(t)
  const disk = new Disk(folder)
  const body = endless(64 * 1024 * 1024, () => join(folder, 'coming', 'a.1'))
  const received = await disk.receive({ folder: 'romeo', id: 'a' }, body.stream, new AbortController().signal)
  t.ok(body.most < 1024 * 1024, `${body.most} bytes at most were read and not written`)
  await received.keep()
  t.equal(readFileSync(join(folder, 'romeo', 'a')).length, 64 * 1024 * 1024)
})

t.test('a disk that cannot write answers 500, the log says why, and the slot stays good', async t => {
  const { s, romeo, put, folder } = await withRomeo(t)
  writeFileSync(join(folder, SERVICE), 'in the way')
  const given = await slot(romeo, 5)
  t.equal((await put(given, '12345')).status, 500)
  t.match(s.lines.find(({ level }) => level === 'error'), { event: 'file not received' })
  s.expectedErrors.push(['file not received', String(s.lines.find(({ level }) => level === 'error')?.fields['error'])])
  rmSync(join(folder, SERVICE))
  t.equal((await put(given, '12345')).status, 201)
})
