/** Gajim sets its user's picture and profile, which need PEP, and a contact with another client sees them. */
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { xml } from '@xmpp/client'
import t from 'tap'
import { Desktop } from './desktop.js'
import { addDrive, drive, settle } from './gajim.js'
import { declares } from './interest.js'
import { device, PASSWORD, trust } from './library.js'
import { missing } from './process.js'
import { startServer } from './server.js'

const skip = missing({ gajim: 'gajim', Xvfb: 'xvfb', 'dbus-daemon': 'dbus-daemon', openssl: 'openssl' })
/** The smallest PNG. */
const PICTURE = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64')
const HASH = createHash('sha1').update(PICTURE).digest('hex')
const METADATA = 'urn:xmpp:avatar:metadata'
const VCARD4 = 'urn:xmpp:vcard4'
const PUBSUB = 'http://jabber.org/protocol/pubsub'

t.setTimeout(1_200_000)

t.test('a person sets a public picture and a profile in Gajim, and contacts, strangers and rooms can see them', { skip }, async t => {
  const server = await startServer(t, 'pep = true')
  for (const local of ['romeo', 'juliet', 'paris']) await server.addUser(local, PASSWORD)
  trust(t, server)
  const desktop = await Desktop.open(t, home => {
    settle(server, home, { local: 'romeo', contact: 'juliet', password: PASSWORD })
    addDrive(home)
    writeFileSync(join(home, 'rose.png'), PICTURE)
  })
  const home = desktop.env['HOME'] ?? ''
  const service = `xmpp://${server.host}:${server.port}`
  const juliet = await device(t, server, 'juliet', { resource: 'balcony', service })
  const paris = await device(t, server, 'paris', { resource: 'street', service })
  const romeo = `romeo@${server.domain}`
  const gajim = desktop.start(t, 'gajim', ['--verbose'])
  await gajim.says(/Raise event: signed-in/)
  await drive(home, `
import nbxmpp
app.get_client('verona').send_stanza(nbxmpp.Presence(to='juliet@${server.domain}', typ='subscribed'))
`)
  // RFC 6121 §2.2: only a device that has asked for the roster is told of the consent.
  await juliet.xmpp.iqCaller.get(xml('query', { xmlns: 'jabber:iq:roster' }))
  await juliet.xmpp.send(xml('presence', { type: 'subscribe', to: romeo }))
  await juliet.gets(stanza => stanza.is('presence') && stanza.attrs['type'] === 'subscribed')
  await declares(juliet.xmpp, [METADATA, VCARD4])
  const told = async (node: string, what: string): Promise<void> => {
    const event = await juliet.gets(stanza => stanza.is('message') && stanza.attrs['from'] === romeo && stanza.toString().includes(`node="${node}"`))
    t.match(event.toString(), what, `a contact is told of ${node}`)
  }

  /** Runs a request in Gajim, and returns how it ended. */
  const done = async (request: string): Promise<string> => {
    await drive(home, `
from pathlib import Path
from nbxmpp.modules.vcard4 import VCard
from nbxmpp.modules.user_avatar import Avatar
done = []
def ended(task):
    try: task.finish(); done.append('done')
    except Exception as error: done.append(repr(error))
client = app.get_client('verona')
${request}
`)
    for (let turns = 0; turns < 300; turns++) {
      const said = (await drive(home, 'p(*done)')).trim()
      if (said !== '') return said
      await sleep(100)
    }
    return 'nothing'
  }
  const set = (what: string): Promise<string> => done(`
avatar = Avatar(); avatar.add_image_source(Path('~/rose.png').expanduser().read_bytes(), 'image/png', 1, 1)
client.get_module('UserAvatar').set_avatar(${what}, public=True, callback=ended)`)
  /** Returns the reply that a stranger gets. */
  const asked = async (id: string, payload: Parameters<typeof juliet.xmpp.send>[0]): Promise<string> => {
    await paris.xmpp.send(xml('iq', { type: 'get', id, to: romeo }, payload))
    return (await paris.gets(stanza => stanza.is('iq') && stanza.attrs['id'] === id)).toString()
  }
  const items = (node: string): ReturnType<typeof xml> => xml('pubsub', { xmlns: PUBSUB }, xml('items', { node }))

  t.equal(await set('avatar'), 'done', 'Gajim shows no error')
  await told(METADATA, HASH)
  t.match(await asked('m', items(METADATA)), HASH, 'a stranger reads the metadata')
  t.match(await asked('d', items('urn:xmpp:avatar:data')), PICTURE.toString('base64'), '… and the picture')
  t.match(await asked('v', xml('vCard', { xmlns: 'vcard-temp' })), PICTURE.toString('base64'), 'an old client finds it in the vCard')
  t.equal(await done("card = VCard(); card.add_property('fn', 'Romeo Montague'); client.get_module('VCard4').set_vcard(card, public=True, callback=ended)"), 'done', 'Gajim sets a profile without an error')
  await told(VCARD4, 'Romeo Montague')
  t.match(await asked('p', xml('vcard', { xmlns: 'urn:ietf:params:xml:ns:vcard-4.0' })), 'Romeo Montague', 'a client that asks by iq gets the profile')
  await drive(home, `client.send_stanza(nbxmpp.Presence(to='juliet@${server.domain}'))`)
  await juliet.gets(stanza => stanza.is('presence') && (stanza.attrs['from'] ?? '').startsWith(romeo) && stanza.toString().includes(HASH))
  t.pass('presence names it, as rooms get it')
  t.equal(await set('None'), 'done', 'Gajim removes it without an error')
  t.notMatch(await asked('w', xml('vCard', { xmlns: 'vcard-temp' })), PICTURE.toString('base64'), 'the vCard has it no more')
})
