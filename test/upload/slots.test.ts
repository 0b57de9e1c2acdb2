/** Requests for slots (XEP-0363): what they answer, what is refused, and what counts. */
import t from 'tap'
import { attributeOf, child, xml, type Element } from '../../lib/xml/element.js'
import { NS } from '../../lib/xml/namespaces.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { stanza } from '../../lib/xmpp/stanza.js'
import { safeName } from '../../modules/upload/names.js'
import { conditionOf } from '../stanzas.js'
import { asksForSlot, ORIGIN, rowsOf, SERVICE, slot, uploadStage } from './stage.js'

const PURPOSE = NS.UPLOAD_PURPOSE
const errorOf = (stanza: Element): Element | undefined => child(stanza, NS.CLIENT, 'error')
const retryOf = (stanza: Element): string => {
  const error = errorOf(stanza)
  const retry = error === undefined ? undefined : child(error, NS.UPLOAD, 'retry')
  return retry === undefined ? '' : attributeOf(retry, 'stamp') ?? ''
}

t.test('the service tells its identity, features, purposes and largest size, and the domain lists it', async t => {
  const { s } = await uploadStage(t, { settings: { maxFileSize: '5MiB' } })
  const romeo = await s.device('romeo@capulet.lit/orchard')
  const items = await romeo.asks(`<iq type='get' to='capulet.lit' id='i'><query xmlns='${NS.DISCO_ITEMS}'/></iq>`)
  t.match(items.toString(), `jid="${SERVICE}" name="HTTP File Upload"`)
  const info = (await romeo.asks(`<iq type='get' to='${SERVICE}' id='i'><query xmlns='${NS.DISCO_INFO}'/></iq>`)).toString()
  t.match(info, /<identity category="store" type="file" name="HTTP File Upload"\/>/)
  for (const feature of [NS.UPLOAD, ...['message', 'profile', 'ephemeral'].map(name => `${PURPOSE}#${name}`)]) t.match(info, `<feature var="${feature}"/>`)
  t.notMatch(info, '#permanent')
  t.match(info, /<field var="FORM_TYPE" type="hidden"><value>urn:xmpp:http:upload:0<\/value><\/field><field var="max-file-size"><value>5242880<\/value>/)
})

t.test('a service whose web has no address shows no features and gives no slots', async t => {
  const { s } = await uploadStage(t, { settings: { url: undefined } })
  const romeo = await s.device('romeo@capulet.lit/orchard')
  t.notMatch((await romeo.asks(`<iq type='get' to='${SERVICE}' id='i'><query xmlns='${NS.DISCO_INFO}'/></iq>`)).toString(), NS.UPLOAD)
  t.equal(conditionOf(await asksForSlot(romeo, 5)), 'service-unavailable')
})

t.test('a slot has one address with the name of the file, and the header that lets its owner send', async t => {
  const stage = await uploadStage(t)
  const romeo = await stage.s.device('romeo@capulet.lit/orchard')
  const given = await slot(romeo, 23_456, 'très cool.jpg', "content-type='image/jpeg'")
  t.match(given.put, new RegExp(`^${ORIGIN}/upload/${SERVICE}/[^/]+/tr%C3%A8s%20cool\\.jpg$`))
  t.equal(given.get, given.put)
  t.same(Object.keys(given.headers), ['Authorization'], 'no other header than browsers may send (§8)')
  t.match(given.headers['Authorization'], /^Bearer [\w-]+\.[\w-]+$/)
  t.equal(await rowsOf(stage, 'romeo@capulet.lit'), 1)
})

t.test('names keep their ending, and lose folders, control characters and turns of direction', t => {
  const long = `${'ö'.repeat(300)}.jpeg`
  const cases: readonly (readonly [string, string])[] = [
    ['../../etc/passwd', 'passwd'], ['C:\\x\\photo.PNG', 'photo.PNG'], ['..', 'file'], ['.', 'file'], ['a/', 'file'], ['\u202Egnp.exe', 'gnp.exe'], ['a\n\tb.txt', 'ab.txt'], ['.hidden', '.hidden'], ['100%.txt', '100%.txt'], ['a'.repeat(600), 'a'.repeat(480)], [`a.${'b'.repeat(600)}`, `a.${'b'.repeat(478)}`],
  ]
  for (const [name, wanted] of cases) t.equal(safeName(name), wanted, JSON.stringify(name).slice(0, 60))
  t.match(safeName(long), /^ö+\.jpeg$/)
  t.ok(encodeURIComponent(safeName(long)).length <= 480)
  t.end()
})

t.test('a malformed request is refused with bad-request', async t => {
  const stage = await uploadStage(t)
  const romeo = await stage.s.device('romeo@capulet.lit/orchard')
  const wrong: readonly (readonly [string | number, string, string, string])[] = [
    [5, '', '', ''], [0, 'a', '', ''], ['-1', 'a', '', ''], ['1e3', 'a', '', ''], ['', 'a', '', ''], ['9'.repeat(16), 'a', '', ''], [5, 'a', "content-type='nonsense'", ''],
    [5, 'a', '', `<unknown xmlns='${PURPOSE}'/>`], [5, 'a', '', `<message xmlns='${PURPOSE}'/><profile xmlns='${PURPOSE}'/>`], [5, 'a', '', `<ephemeral xmlns='${PURPOSE}'/>`], [5, 'a', '', `<ephemeral xmlns='${PURPOSE}' expire-before='tomorrow'/>`],
  ]
  for (const [size, name, more, inner] of wrong) {
    t.equal(conditionOf(await asksForSlot(romeo, size, name, more, inner)), 'bad-request', `${size} ${name} ${more} ${inner}`)
  }
  t.equal(await rowsOf(stage, 'romeo@capulet.lit'), 0, 'nothing is stored')
})

t.test('a file that is too large is refused with the largest size, for each purpose', async t => {
  const { s } = await uploadStage(t, { settings: { maxFileSize: '20000B', profileFileSize: '2000B' } })
  const romeo = await s.device('romeo@capulet.lit/orchard')
  for (const [inner, most] of [['', 20_000], [`<profile xmlns='${PURPOSE}'/>`, 2000]] as const) {
    const answer = await asksForSlot(romeo, most + 1, 'a', '', inner)
    const error = errorOf(answer)
    t.equal(conditionOf(answer), 'not-acceptable')
    t.equal(error === undefined ? '' : attributeOf(error, 'type'), 'modify')
    t.match(answer.toString(), `<file-too-large xmlns="${NS.UPLOAD}"><max-file-size>${most}</max-file-size></file-too-large>`)
    await slot(romeo, most, 'a', '', inner)
  }
})

t.test('types that the conf does not list are refused', async t => {
  const { s } = await uploadStage(t, { settings: { types: ['image/*', 'application/pdf'] } })
  const romeo = await s.device('romeo@capulet.lit/orchard')
  for (const type of ['IMAGE/PNG', 'image/jpeg; q=1', 'application/pdf']) await slot(romeo, 5, 'a', `content-type='${type}'`)
  for (const more of ["content-type='text/html'", "content-type='imaging/png'", '']) t.equal(conditionOf(await asksForSlot(romeo, 5, 'a', more)), 'not-acceptable', more)
})

t.test('permanent files are kept only if the conf gives them room', async t => {
  const inner = `<permanent xmlns='${PURPOSE}'/>`
  const without = await uploadStage(t)
  t.equal(conditionOf(await asksForSlot(await without.s.device('romeo@capulet.lit/orchard'), 5, 'a', '', inner)), 'not-acceptable')
  const { s } = await uploadStage(t, { settings: { permanentBytes: '1KiB' } })
  const romeo = await s.device('romeo@capulet.lit/orchard')
  await slot(romeo, 1000, 'a', '', inner)
  const full = await asksForSlot(romeo, 1000, 'a', '', inner)
  t.equal(conditionOf(full), 'resource-constraint')
  t.equal(retryOf(full), '', 'nobody knows when there is room')
})

t.test('an ephemeral file may not end before it begins', async t => {
  const { s } = await uploadStage(t)
  const romeo = await s.device('romeo@capulet.lit/orchard')
  t.equal(conditionOf(await asksForSlot(romeo, 5, 'a', '', `<ephemeral xmlns='${PURPOSE}' expire-before='1969-07-21T02:56:15Z'/>`)), 'not-acceptable')
})

t.test('only accounts of this server get slots', async t => {
  const stage = await uploadStage(t)
  await stage.s.account('romeo@capulet.lit')
  const ask = (from: string): void => {
    const request = xml('iq', { type: 'get', id: 'x' }, xml('request', { xmlns: NS.UPLOAD, filename: 'a', size: '5' }))
    stage.s.server.pipeline.route(stanza(request, parseJid(from), parseJid(SERVICE)))
  }
  for (const from of ['mercutio@elsewhere.lit/inn', 'capulet.lit', 'elsewhere.lit']) ask(from)
  await stage.s.settled()
  for (const account of ['mercutio@elsewhere.lit', 'capulet.lit']) t.equal(await rowsOf(stage, account), 0)
  ask('romeo@capulet.lit/orchard')
  await stage.s.settled()
  t.equal(await rowsOf(stage, 'romeo@capulet.lit'), 1)
})

t.test('what an account may send in a day is bounded in bytes and files, and the error says when there is room', async t => {
  const { s } = await uploadStage(t, { settings: { bytesPerDay: '10000B', filesPerDay: 3 } })
  const romeo = await s.device('romeo@capulet.lit/orchard')
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const begin = s.clock.now()
  await slot(romeo, 6000)
  await s.pass('1m')
  const full = await asksForSlot(romeo, 6000)
  t.equal(conditionOf(full), 'resource-constraint')
  t.equal(attributeOf(errorOf(full) ?? full, 'type'), 'wait')
  const retry = Date.parse(retryOf(full))
  t.ok(retry > begin + 86_400_000 && retry <= begin + 86_402_000, `there is room after a day: ${retryOf(full)}`)
  await slot(juliet, 6000)
  await slot(romeo, 4000)
  await slot(juliet, 1)
  await slot(juliet, 1)
  t.equal(conditionOf(await asksForSlot(juliet, 1)), 'resource-constraint', 'three files a day')
  await s.pass('23h')
  t.equal(conditionOf(await asksForSlot(juliet, 9999)), 'resource-constraint')
})

t.test('what was sent a day ago makes room once, also before its rows are removed', async t => {
  const { s, put } = await uploadStage(t, { settings: { bytesPerDay: '10000B', filesPerDay: 2 } })
  const romeo = await s.device('romeo@capulet.lit/orchard')
  const juliet = await s.device('juliet@capulet.lit/balcony')
  for (const device of [romeo, juliet]) t.equal((await put(await slot(device, 10_000), 'x'.repeat(10_000))).status, 201)
  // One look of the service falls into this time, at its beginning: the rows of the day are still there.
  await s.pass('24h')
  await slot(romeo, 6000)
  t.equal(conditionOf(await asksForSlot(romeo, 6000)), 'resource-constraint', 'bytes')
  await slot(romeo, 4000)
  await slot(juliet, 1)
  await slot(juliet, 1)
  t.equal(conditionOf(await asksForSlot(juliet, 1)), 'resource-constraint', 'files')
})

t.test('slots that nobody used do not count any more after their time', async t => {
  const stage = await uploadStage(t, { settings: { bytesPerDay: '10000B', slotTimeout: '60s' } })
  const { s } = stage
  const romeo = await s.device('romeo@capulet.lit/orchard')
  await slot(romeo, 10_000)
  t.equal(conditionOf(await asksForSlot(romeo, 1)), 'resource-constraint')
  await s.pass('2m')
  while (await rowsOf(stage, 'romeo@capulet.lit') > 0) await s.settled()
  await slot(romeo, 10_000)
})

t.test('two devices of an account that ask at the same time share its quota', async t => {
  const stage = await uploadStage(t, { settings: { bytesPerAccount: '10000B' } })
  const devices = [await stage.s.device('romeo@capulet.lit/orchard'), await stage.s.device('romeo@capulet.lit/lane')]
  const answers = await Promise.all(devices.map(device => asksForSlot(device, 6000)))
  t.same(answers.map(answer => conditionOf(answer)).sort(), ['resource-constraint', undefined])
  t.equal(await rowsOf(stage, 'romeo@capulet.lit'), 1)
})

t.test('a slot that cannot be stored is not given, and the account may ask again', async t => {
  const stage = await uploadStage(t)
  const romeo = await stage.s.device('romeo@capulet.lit/orchard')
  stage.s.storage.failing = new Error('disk full')
  t.equal(conditionOf(await asksForSlot(romeo, 5)), 'resource-constraint')
  stage.s.storage.failing = undefined
  await slot(romeo, 5)
})
