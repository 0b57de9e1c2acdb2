/** What may be kept, and answered, is bounded in bytes; and bounds that depend on each other fit. */
import t from 'tap'
import { scenario } from '../scenario.js'

const SM = "xmlns='urn:xmpp:sm:3'"
const KIB = 1024
const MIB = 1024 * KIB
const text = (bytes: number): string => 'x'.repeat(bytes)

// ---- What is not acknowledged ------------------------------------------------------------------------

for (const isSlow of [false, true]) {
  const how = isSlow ? 'reads its new connection slowly' : 'reads'
  t.test(`a device that leaves almost all unacknowledged that it may, and ${how}, resumes and gets everything, once and in order`, async t => {
    const s = await scenario(t, { modules: ['presence', 'message', 'ping', 'stream-management'], settings: { ping: { silence: '1d' } } })
    const romeo = await s.device('romeo@montague.lit/orchard')
    const juliet = await s.device('juliet@capulet.lit/balcony')
    await juliet.says(`<enable ${SM} resume='true'/>`)
    const { id } = (await juliet.gets(`<enabled ${SM}/>`)).attrs
    await juliet.loses('connection')
    const count = 40 // of 200 KiB: more than 7.8 of the 8 MiB that stream-management.bytes allows
    for (let n = 0; n < count; n++) await romeo.says(`<message to='juliet@capulet.lit' type='chat' id='m${n}'><body>${text(200 * KIB)}</body></message>`)
    const { device } = await s.resume('juliet@capulet.lit', `<resume ${SM} previd='${id as string}' h='0'/>`, { isSlow })
    if (device === undefined) throw new Error('not resumed')
    if (isSlow) {
      t.ok(device.backlog > 0 && device.backlog < MIB, 'the server keeps what the device does not read')
      await romeo.says("<message to='juliet@capulet.lit' type='chat' id='later'><body>and this</body></message>")
      await device.reads()
    }
    const messages = device.unread.filter(({ name }) => name === 'message').map(({ attrs }) => attrs['id'])
    t.same(messages, [...Array.from({ length: count }, (_, n) => `m${n}`), ...isSlow ? ['later'] : []])
    t.equal(device.closed, false)
    await device.says(`<a ${SM} h='${messages.length}'/>`)
  })
}
