/** A person in rooms with Gajim, a client for the desktop, and another one who uses slixmpp. */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Desktop } from '../desktop.js'
import { addDrive, drive, messagesIn, settle } from '../gajim.js'
import { missing } from '../process.js'
import { AGAINST_PROSODY, ROOMS, startServer } from '../server.js'
import { Occupant, OCCUPANT_NEEDS } from './occupant.js'

const skip = AGAINST_PROSODY
  ? 'it is about Sestina'
  : missing({ gajim: 'gajim', Xvfb: 'xvfb', 'dbus-daemon': 'dbus-daemon', ...OCCUPANT_NEEDS })
const PASSWORD = 'a-secret-of-Verona'
/** Messages sent while Gajim is not running. */
const MEANWHILE = ['What, gone without a word?', 'Ay <&> so', 'Parting is such sweet sorrow 🌹'] as const

t.setTimeout(1_200_000)

t.test('a person can use rooms with Gajim', { skip }, async t => {
  const server = await startServer(t, 'pep = true\nbookmarks = true', '', ROOMS)
  for (const local of ['romeo', 'juliet']) await server.addUser(local, PASSWORD)
  const room = `hall@rooms.${server.domain}`
  const desktop = await Desktop.open(t, home => {
    settle(server, home, { local: 'romeo', contact: 'juliet', password: PASSWORD })
    addDrive(home)
  })
  const home = desktop.env['HOME'] ?? ''
  let gajim = desktop.start(t, 'gajim', ['--verbose'])
  await gajim.says(/Raise event: signed-in/)
  await drive(home, `
from nbxmpp import JID
from gajim.common.structs import OutgoingMessage
client = app.get_client('verona')
muc = client.get_module('MUC')
hall = '${room}'
def contact():
    return client.get_module('Contacts').get_contact(hall, groupchat=True)
def say(text):
    client.send_message(OutgoingMessage(account='verona', contact=contact(), message=text, type_='groupchat'))
`)
  /** Waits until Gajim has stored this number of messages, and returns them. */
  const stored = async (count: number): Promise<readonly string[]> => {
    for (let turns = 0; turns < 6000 && messagesIn(desktop.env).length < count; turns++) await sleep(100)
    return messagesIn(desktop.env)
  }
  const juliet = await Occupant.of(t, server, 'juliet', PASSWORD, room)

  t.test('Gajim makes a private room, and invites another person, who enters it', async t => {
    await drive(home, "muc.create(hall, {'muc#roomconfig_persistentroom': True, 'muc#roomconfig_membersonly': True, 'muc#roomconfig_whois': 'anyone'})")
    await gajim.says(new RegExp(`Configuration finished: ${room}`))
    await drive(home, `muc.invite(hall, 'juliet@${server.domain}', 'Come in')`)
    await juliet.hears('invited') // as a new member, by the room; Gajim's own invitation, with the reason, is a direct one
    await juliet.does('enter Juliet')
    await juliet.hears('romeo is here []')
    await juliet.hears('Juliet is here [100, 110, 170]')
    t.equal(await drive(home, 'p(contact().is_joined)'), 'True\n')
  })

  t.test('what Gajim says is read by the other one, and what she says arrives in Gajim', async t => {
    await drive(home, "say('Is the day so young? <&> ünïcödé')")
    await juliet.hears('romeo said: Is the day so young? <&> ünïcödé')
    await juliet.does('say But new struck nine')
    t.same(await stored(2), ['But new struck nine', 'Is the day so young? <&> ünïcödé'])
  })

  t.test('an owner kicks somebody in Gajim, who is told why and enters again', async () => {
    await drive(home, "muc.set_role(hall, 'Juliet', 'none', 'Peace, I say')")
    await juliet.hears('Juliet is gone [110, 307]')
    await juliet.does('enter Capulet')
    await juliet.hears('Capulet is here [100, 110, 170]')
  })

  t.test('started again, Gajim enters the room by its bookmark, and has each message that it missed once', async t => {
    await gajim.stop()
    for (const words of MEANWHILE) {
      await juliet.does(`say ${words}`)
      await juliet.hears(`Capulet said: ${words}`)
    }
    gajim = desktop.start(t, 'gajim', ['--verbose'])
    const all = ['Is the day so young? <&> ünïcödé', 'But new struck nine', ...MEANWHILE]
    await gajim.says(new RegExp(`Set MUC state: ${room} JOINED`))
    await juliet.does('say Welcome')
    t.same(await stored(all.length + 1), [...all, 'Welcome'].sort())
  })
})
