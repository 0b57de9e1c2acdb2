/** Stanzas inside of messages between Sestina and a real Prosody: archives of rooms, forwarded messages, carbons. */
import { join } from 'node:path'
import { xml } from '@xmpp/client'
import t from 'tap'
import { PACKAGE_ROOT } from '../../../lib/base/package.js'
import { missing, Program } from '../process.js'
import { Device, PASSWORD, Quarter, startProsody, startSestina, trustAll, type Stanza } from './servers.js'

const OURS = 'montague.test'
const THEIRS = 'capulet.test'
const PYTHON = '/usr/bin/python3'
const skip = process.getuid?.() !== 0
  ? 'needs root, for DNS on port 53 and a mount namespace'
  : missing({ 'prosody': 'prosody', 'unshare': 'util-linux', '/usr/lib/python3/dist-packages/slixmpp/__init__.py': 'python3-slixmpp' })

t.setTimeout(1_200_000)

t.test('slixmpp pages through the archive of a room on Prosody', { skip }, async t => {
  const quarter = await Quarter.build(t, { trust: 'certificate' })
  const ours = await startSestina(quarter, { domains: [OURS] })
  await startProsody(quarter, THEIRS)
  await ours.addUser('romeo')
  const client = new Program(PYTHON, [join(PACKAGE_ROOT, 'test', 'interop', 's2s', 'room_archive.py'),
    '--host', ours.address, '--jid', `romeo@${OURS}/orchard`, '--password', PASSWORD, '--room', `balcony@rooms.${THEIRS}`,
    '--ca', join(quarter.authorities, 'verona.pem')])
  t.teardown(() => client.stop())
  const code = await client.ended
  t.equal(code, 0, client.said)
  t.match(client.said, /^25 messages in pages of 10$/m)
})

t.test('a forwarded message keeps its namespace to Prosody and back, and in the carbon for another device', { skip }, async t => {
  const quarter = await Quarter.build(t, { trust: 'certificate' })
  trustAll(t)
  const ours = await startSestina(quarter, { domains: [OURS], modules: 'carbons = true\nmam = true' })
  const theirs = await startProsody(quarter, THEIRS)
  await ours.addUser('romeo')
  await theirs.addUser('juliet')
  const romeo = await Device.of(t, ours, 'romeo')
  const other = await Device.of(t, ours, 'romeo', 'other')
  await other.xmpp.iqCaller.set(xml('enable', 'urn:xmpp:carbons:2'))
  const juliet = await Device.of(t, theirs, 'juliet', 'balcony')

  const inner = (): Stanza => xml('message', { xmlns: 'jabber:client', from: 'a@b.example', to: 'c@d.example', id: 'inner' }, xml('body', {}, 'forwarded'))
  const message = (to: string, id: string): Stanza => xml('message', { to, id, type: 'chat' }, xml('body', {}, 'see below'),
    xml('forwarded', 'urn:xmpp:forward:0', inner()))
  const isWhole = (stanza: Stanza | undefined): boolean => {
    const found = stanza?.getChild('forwarded', 'urn:xmpp:forward:0')?.getChild('message', 'jabber:client')
    return found?.attrs['id'] === 'inner' && found.attrs['xmlns'] === 'jabber:client' && found.getChildText('body') === 'forwarded'
  }

  await romeo.says(message(juliet.bare, 'there'))
  t.ok(isWhole(await juliet.gets('the message', stanza => stanza.attrs['id'] === 'there')), 'Prosody has forwarded it whole')
  const sent = await other.gets('the copy of what was sent', stanza => stanza.getChild('sent', 'urn:xmpp:carbons:2') !== undefined)
  const copied = (stanza: Stanza, kind: string): Stanza | undefined =>
    stanza.getChild(kind, 'urn:xmpp:carbons:2')?.getChild('forwarded', 'urn:xmpp:forward:0')?.getChild('message', 'jabber:client')
  t.ok(isWhole(copied(sent, 'sent')))

  await juliet.says(message(romeo.full, 'back'))
  t.ok(isWhole(await romeo.gets('the answer', stanza => stanza.attrs['id'] === 'back')))
  const received = await other.gets('the copy of what came', stanza => stanza.getChild('received', 'urn:xmpp:carbons:2') !== undefined)
  t.ok(isWhole(copied(received, 'received')))

  await romeo.says(xml('iq', { type: 'set', id: 'page' }, xml('query', { xmlns: 'urn:xmpp:mam:2', queryid: 'q' })))
  for (let n = 0; n < 2; n++) {
    const page = await romeo.gets('a page', stanza => stanza.getChild('result', 'urn:xmpp:mam:2') !== undefined)
    const archived = page.getChild('result', 'urn:xmpp:mam:2')?.getChild('forwarded', 'urn:xmpp:forward:0')?.getChild('message', 'jabber:client')
    t.ok(isWhole(archived), 'it is whole in the archive')
  }
})
