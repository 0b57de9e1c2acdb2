/**
 * A text whose length limit falls within a character is cut before that character, so that it can be stored and written
 * again.
 */
import { join } from 'node:path'
import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { peerError } from '../../lib/stream/peer-error.js'
import { conditionIn } from '../../lib/s2s/trust/dialback.js'
import { asks } from '../admin/world.js'
import { parseElement } from '../parse.js'
import { scenario } from '../scenario.js'
import { temporaryFolder } from '../temporary-folder.js'

/** `length` letters and a character of two code units. */
const upTo = (length: number): string => `${'x'.repeat(length)}\u{1f339}`

t.test('a subscription request whose status is cut within an emoji is shown to each device and exported', async t => {
  const folder = temporaryFolder(t)
  const s = await scenario(t, { modules: ['roster', 'presence'], hosts: ['capulet.lit'] })
  await s.account('juliet@capulet.lit')
  const romeo = await s.device('romeo@capulet.lit/orchard')
  await romeo.says(`<presence type='subscribe' to='juliet@capulet.lit'><status>${upTo(1023)}</status></presence>`)
  const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
  await juliet.says('<presence/>')
  t.ok(juliet.unread.some(({ attrs }) => attrs['type'] === 'subscribe' && attrs['from'] === 'romeo@capulet.lit'))
  await asks(s.server, 'export', [join(folder, 'all.xml')])
  t.match(readFileSync(join(folder, 'all.xml'), 'utf8'), /<presence[^>]* type="subscribe"/)
})

t.test('a last status that is cut within an emoji is returned', async t => {
  const s = await scenario(t, { modules: ['roster', 'presence', 'last-activity'] })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@capulet.lit/orchard')
  await s.contact('juliet@capulet.lit', 'romeo@capulet.lit')
  await juliet.says(`<presence type='unavailable'><status>${upTo(1022)}</status></presence>`)
  await juliet.loses('connection')
  const answer = await romeo.asks("<iq type='get' id='l' to='juliet@capulet.lit'><query xmlns='jabber:iq:last'/></iq>")
  t.equal(answer.attrs['type'], 'result')
  t.match(answer.toString(), 'x'.repeat(1022))
})

t.test('the reason of an imported lock that is cut within an emoji is exported', async t => {
  const folder = temporaryFolder(t)
  const s = await scenario(t, { modules: ['roster'], hosts: ['capulet.lit'] })
  writeFileSync(join(folder, 'in.xml'), "<server-data xmlns='urn:xmpp:pie:0'><host jid='capulet.lit'><user name='romeo' password='a long enough one'>" +
    `<account xmlns='urn:sestina:account:0'><locked>${upTo(999)}</locked></account></user></host></server-data>`)
  t.match(await asks(s.server, 'import', [join(folder, 'in.xml')]), { accounts: 1 })
  await asks(s.server, 'export', [join(folder, 'out.xml')])
  t.match(readFileSync(join(folder, 'out.xml'), 'utf8'), />x{999}<\/locked>/)
})

t.test('the error text of another server is cut between characters', t => {
  const whole = /^[^\ud800-\udfff]*$/
  const stream = peerError(parseElement("<stream:error xmlns:stream='http://etherx.jabber.org/streams'>" +
    `<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>${upTo(1099)}</see-other-host></stream:error>`))
  t.match(stream.host, whole)
  t.match(conditionIn(parseElement(`<message><error><${upTo(63)} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)), whole)
  t.end()
})
