/** Gajim as a person at a desktop uses it: an account, a contact, and a conversation on the screen. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { Desktop } from './desktop.js'
import { messagesIn, settle } from './gajim.js'
import { missing, Program, run } from './process.js'
import { startServer } from './server.js'

const skip = missing({
  gajim: 'gajim', Xvfb: 'xvfb', 'dbus-daemon': 'dbus-daemon', xdotool: 'xdotool', import: 'imagemagick',
  'go-sendxmpp': 'go-sendxmpp', openssl: 'openssl',
})
const PASSWORD = 'a-secret-of-Verona'
/** The number of pixels that a blinking cursor changes, with much to spare. */
const CURSOR = 800
const WORDS = 'But soft! What light through yonder window breaks'
const LAST_WORDS = 'window breaks'
const ANSWER = 'O Romeo, Romeo! Wherefore art thou Romeo?'
/** Messages sent while Gajim is away: to another device, by that device, and while no device is online. */
const MEANWHILE = ['What man art thou', 'My name, dear saint, is hateful to myself', 'How camest thou hither'] as const

t.setTimeout(1_200_000)

t.test('a person can use Gajim', { skip }, async t => {
  const server = await startServer(t)
  for (const local of ['romeo', 'juliet']) await server.addUser(local, PASSWORD)
  const jid = (local: string): string => `${local}@${server.domain}`
  const desktop = await Desktop.open(t, home => { settle(server, home, { local: 'romeo', contact: 'juliet', password: PASSWORD }) })
  const goHow = { env: { HOME: server.folder, SSL_CERT_FILE: server.certificate } }
  const goArgs = (local: string): string[] => ['--username', jid(local), '--password', PASSWORD, '--jserver', `${server.domain}:${server.port}`]
  const says = async (from: string, to: string, text: string): Promise<unknown> =>
    run('go-sendxmpp', [...goArgs(from), jid(to)], { ...goHow, input: `${text}\n` })
  const listening = async (t: Test, local: string): Promise<Program> => {
    const device = new Program('go-sendxmpp', [...goArgs(local), '--debug', '--listen'], goHow)
    t.teardown(() => device.stop())
    await device.says(/<presence/)
    return device
  }
  const listener = await listening(t, 'juliet')

  const gajim = desktop.start(t, 'gajim', ['--verbose'])

  t.test('Gajim logs in by SCRAM, with a certificate that the person trusts', async t => {
    await gajim.says(/Raise event: signed-in/)
    t.match(gajim.said, /Chosen auth mechanism: SCRAM-SHA-/)
    // Gajim stores a message twice that is sent while it reads the archive.
    await gajim.says(new RegExp(`Request finished: ${jid('romeo')}`))
  })

  t.test('a message that is typed into its window reaches the contact', async t => {
    await desktop.type('Gajim', '', 'alt+1')
    await gajim.says(new RegExp(`Switch to ${jid('juliet')}`))
    // Keys pressed before the input field has the focus are lost. The words are then typed again.
    for (let turn = 1; turn <= 5 && !listener.said.includes(WORDS); turn++) {
      await desktop.type('Gajim', `${WORDS}?`, 'Return')
      await listener.says(new RegExp(`(?:${LAST_WORDS}[^]*?){${turn}}`))
    }
    const [heard] = await listener.says(new RegExp(`^.*romeo@.*${WORDS}`, 'm'))
    t.match(heard, jid('romeo'))
  })

  t.test('the answer appears in the window', async t => {
    const before = join(server.folder, 'before.png')
    await desktop.picture(before)
    await says('juliet', 'romeo', ANSWER)
    await gajim.says(/Raise event: message-received/)
    const after = await desktop.changed(before, join(PACKAGE_ROOT, '.tap', 'gajim.png'), CURSOR)
    t.ok(after > CURSOR, 'more than a cursor has changed on the screen')
  })

  t.test('after reconnecting, Gajim finds every missed message in the archive exactly once, also those of another device', async t => {
    await gajim.stop()
    const [heard, said, waiting] = MEANWHILE
    const elsewhere = await listening(t, 'romeo')
    await says('juliet', 'romeo', heard)
    await elsewhere.says(new RegExp(heard))
    await says('romeo', 'juliet', said)
    await listener.says(new RegExp(said))
    await elsewhere.stop()
    await says('juliet', 'romeo', waiting)

    const again = desktop.start(t, 'gajim', ['--verbose'])
    await again.says(new RegExp(`Request finished: ${jid('romeo')}`))
    const all = [`${WORDS}?`, ANSWER, ...MEANWHILE]
    const whole = (): readonly string[] => messagesIn(desktop.env).filter(text => text.startsWith('But soft') || !text.includes(LAST_WORDS))
    for (let turns = 0; turns < 600 && whole().length < all.length; turns++) await sleep(100)
    await again.stop()
    t.same(whole(), all.sort())
  })
})
