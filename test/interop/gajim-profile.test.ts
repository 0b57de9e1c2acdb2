/** Gajim sets its user's picture, which needs PEP, and a contact with another client sees it. */
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { xml } from '@xmpp/client'
import t from 'tap'
import { Desktop } from './desktop.js'
import { addDrive, drive, settle } from './gajim.js'
import { device, PASSWORD, trust } from './library.js'
import { missing } from './process.js'
import { startServer } from './server.js'

const skip = missing({ gajim: 'gajim', Xvfb: 'xvfb', 'dbus-daemon': 'dbus-daemon', openssl: 'openssl' })
/** The smallest PNG. */
const PICTURE = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64')
const HASH = createHash('sha1').update(PICTURE).digest('hex')
const PUBSUB = 'http://jabber.org/protocol/pubsub'

t.setTimeout(1_200_000)

t.test('a person sets a public picture in Gajim, and contacts, strangers and rooms can see it', { skip }, async t => {
  const server = await startServer(t, 'pep = true')
  for (const local of ['romeo', 'juliet']) await server.addUser(local, PASSWORD)
  trust(t, server)
  const desktop = await Desktop.open(t, home => {
    settle(server, home, { local: 'romeo', contact: 'juliet', password: PASSWORD })
    addDrive(home)
    writeFileSync(join(home, 'rose.png'), PICTURE)
  })
  const home = desktop.env['HOME'] ?? ''
  const juliet = await device(t, server, 'juliet', { resource: 'balcony', service: `xmpp://${server.host}:${server.port}` })
  const romeo = `romeo@${server.domain}`
  const gajim = desktop.start(t, 'gajim', ['--verbose'])
  await gajim.says(/Raise event: signed-in/, 120)

  const set = async (what: string): Promise<string> => {
    await drive(home, `
from pathlib import Path
from nbxmpp.modules.user_avatar import Avatar
done = []
def ended(task):
    try: task.finish(); done.append('done')
    except Exception as error: done.append(repr(error))
avatar = Avatar(); avatar.add_image_source(Path('~/rose.png').expanduser().read_bytes(), 'image/png', 1, 1)
app.get_client('verona').get_module('UserAvatar').set_avatar(${what}, public=True, callback=ended)
`)
    for (let turns = 0; turns < 300; turns++) {
      const said = (await drive(home, 'p(*done)')).trim()
      if (said !== '') return said
      await sleep(100)
    }
    return 'nothing'
  }
  const asked = async (id: string, payload: Parameters<typeof juliet.xmpp.send>[0]): Promise<string> => {
    await juliet.xmpp.send(xml('iq', { type: 'get', id, to: romeo }, payload))
    return (await juliet.gets(stanza => stanza.is('iq') && stanza.attrs['id'] === id)).toString()
  }
  const items = (node: string): ReturnType<typeof xml> => xml('pubsub', { xmlns: PUBSUB }, xml('items', { node }))

  t.equal(await set('avatar'), 'done', 'Gajim shows no error')
  t.match(await asked('m', items('urn:xmpp:avatar:metadata')), HASH, 'a stranger reads the metadata')
  t.match(await asked('d', items('urn:xmpp:avatar:data')), PICTURE.toString('base64'), '… and the picture')
  t.match(await asked('v', xml('vCard', { xmlns: 'vcard-temp' })), PICTURE.toString('base64'), 'an old client finds it in the vCard')
  await drive(home, `
import nbxmpp
client = app.get_client('verona')
client.send_stanza(nbxmpp.Presence(to='juliet@${server.domain}'))
`)
  const presence = await juliet.gets(stanza => stanza.is('presence') && (stanza.attrs['from'] ?? '').startsWith(romeo))
  t.match(presence.toString(), HASH, 'presence names it, as rooms get it')
  t.equal(await set('None'), 'done', 'Gajim removes it without an error')
  t.notMatch(await asked('w', xml('vCard', { xmlns: 'vcard-temp' })), PICTURE.toString('base64'), 'the vCard has it no more')
})
