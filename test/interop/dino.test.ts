/**
 * Dino as a person at a desktop uses it: with a contact who uses Gajim, both with OMEMO, and in a room with somebody
 * who uses slixmpp.
 */
import { createHash } from 'node:crypto'
import { xml } from '@xmpp/client'
import t from 'tap'
import { Desktop } from './desktop.js'
import { Dino, OMEMO, settleDino } from './dino.js'
import { addDrive, drive, settle } from './gajim.js'
import { device, PASSWORD, trust, type Device } from './library.js'
import { Occupant, OCCUPANT_NEEDS } from './muc/occupant.js'
import { missing, NOBODY } from './process.js'
import { AGAINST_PROSODY, ROOMS, startServer } from './server.js'

const NEEDS = {
  'dino-im': 'dino-im', 'gajim': 'gajim', '/usr/share/gajim/plugins/omemo/plugin-manifest.json': 'gajim-omemo', 'Xvfb': 'xvfb', 'xdotool': 'xdotool',
  'dbus-daemon': 'dbus-daemon', 'gdbus': 'libglib2.0-bin', 'unshare': 'util-linux', ...OCCUPANT_NEEDS,
}
const NEEDS_ROOT = NOBODY === undefined && 'needs root, for DNS on port 53 and a mount namespace'
const skip = AGAINST_PROSODY ? 'it is about Sestina' : NEEDS_ROOT || missing(NEEDS)
/** The smallest PNG. */
const PICTURE = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64')
const HASH = createHash('sha1').update(PICTURE).digest('hex')
const AXOLOTL = 'eu.siacs.conversations.axolotl'
const MESSAGES = 'SELECT encryption, body FROM message'
const WORDS = 'Parting is such sweet sorrow'
const ANSWER = 'Sleep dwell upon thine eyes'

t.setTimeout(1_200_000)

t.test('a person can use Dino', { skip }, async t => {
  const server = await startServer(t, 'pep = true\nbookmarks = true', '', ROOMS)
  await Promise.all(['romeo', 'juliet', 'paris'].map(local => server.addUser(local, PASSWORD)))
  trust(t, server)
  const service = `xmpp://${server.host}:${server.port}`
  const romeo = await device(t, server, 'romeo', { resource: 'orchard', service })
  const juliet = await device(t, server, 'juliet', { resource: 'balcony', service })
  const contact = `romeo@${server.domain}`
  const room = `hall@rooms.${server.domain}`
  await befriend(romeo, juliet)
  await publish(romeo, 'urn:xmpp:avatar:data', HASH, xml('data', { xmlns: 'urn:xmpp:avatar:data' }, PICTURE.toString('base64')))
  await publish(romeo, 'urn:xmpp:avatar:metadata', HASH, xml('metadata', { xmlns: 'urn:xmpp:avatar:metadata' },
    xml('info', { id: HASH, type: 'image/png', bytes: String(PICTURE.length), width: '1', height: '1' })))
  const gajimDesktop = await Desktop.open(t, home => {
    settle(server, home, { local: 'romeo', contact: 'juliet', password: PASSWORD })
    addDrive(home)
  })
  const gajim = gajimDesktop.start(t, 'gajim', ['--verbose'])
  const desktop = await Desktop.open(t, home => { settleDino(server, home, { local: 'juliet', contact: 'romeo', password: PASSWORD }) })
  const dino = await Dino.start(t, server, desktop)

  t.test('Dino logs in, and has the contact and its avatar', async t => {
    await dino.has(`${contact} both`, 'SELECT jid, subscription FROM roster')
    t.ok(await dino.hasAvatar(HASH), 'Dino shows the avatar')
  })

  t.test('Dino finds the OMEMO keys of the contact, and what it encrypts is read in Gajim', async t => {
    await gajim.says(/Raise event: signed-in/)
    await dino.has(contact, 'SELECT address_name FROM identity_meta WHERE now_active = 1', 'omemo.db')
    await dino.says(contact, WORDS)
    await dino.has(`${OMEMO} ${WORDS}`, MESSAGES)
    await gajim.says(new RegExp(`Decrypted Message => .*${WORDS}`))
    t.notMatch(await encryptedFor(romeo), WORDS, 'the server does not see it')
  })

  t.test('what Gajim encrypts is read in Dino', async t => {
    await drive(gajimDesktop.env['HOME'] ?? '', `
from nbxmpp import JID
from gajim.common.structs import OutgoingMessage
client = app.get_client('verona')
contact = client.get_module('Contacts').get_contact('juliet@${server.domain}')
contact.settings.set('encryption', 'OMEMO')
client.send_message(OutgoingMessage(account='verona', contact=contact, message='${ANSWER}', type_='chat'))
`)
    await dino.has(`${OMEMO} ${ANSWER}`, MESSAGES)
    t.notMatch(await encryptedFor(juliet), ANSWER, 'the server does not see it')
  })

  t.test('Dino enters a room by a bookmark of another device, sees what was said before, and talks there', async t => {
    const paris = await Occupant.of(t, server, 'paris', PASSWORD, room)
    await paris.does('enter Paris')
    await paris.does('make persistentroom=1')
    await paris.does('say Good morrow')
    await paris.hears('Paris said: Good morrow')
    await publish(juliet, 'urn:xmpp:bookmarks:1', room, xml('conference', { xmlns: 'urn:xmpp:bookmarks:1', autojoin: 'true' }, xml('nick', {}, 'Juliet')))
    await paris.hears('Juliet is here []')
    await dino.has('0 Good morrow', MESSAGES)
    await paris.does('say Happily met')
    await dino.has('0 Happily met', MESSAGES)
    await dino.says(room, 'That may be sir')
    await paris.hears('Juliet said: That may be sir')
  })
})

/** Makes two people see each other's presence. */
async function befriend (one: Device, other: Device): Promise<void> {
  // RFC 6121 §2.2: only a device that has asked for the roster is told of the consent.
  for (const { xmpp } of [one, other]) await xmpp.iqCaller.get(xml('query', { xmlns: 'jabber:iq:roster' }))
  for (const [from, to] of [[one, other], [other, one]] as const) {
    const [asker, asked] = [from, to].map(({ full }) => full.split('/')[0] ?? '')
    await from.xmpp.send(xml('presence', { type: 'subscribe', to: asked }))
    await to.gets(stanza => stanza.is('presence') && stanza.attrs['type'] === 'subscribe')
    await to.xmpp.send(xml('presence', { type: 'subscribed', to: asker }))
    await from.gets(stanza => stanza.is('presence') && stanza.attrs['type'] === 'subscribed')
  }
}

async function publish ({ xmpp }: Device, node: string, id: string, payload: ReturnType<typeof xml>): Promise<void> {
  await xmpp.iqCaller.set(xml('pubsub', { xmlns: 'http://jabber.org/protocol/pubsub' }, xml('publish', { node }, xml('item', { id }, payload))))
}

/** Returns the encrypted message that a device without OMEMO gets. */
async function encryptedFor (one: Device): Promise<string> {
  return (await one.gets(stanza => stanza.is('message') && stanza.getChild('encrypted', AXOLOTL) !== undefined)).toString()
}
