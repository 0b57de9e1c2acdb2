/** Gajim, as a person at a desktop uses it: an account, a contact, a conversation that is there to be seen. */
import Database from 'better-sqlite3'
import { randomUUID } from 'node:crypto'
import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { Desktop } from './desktop.js'
import { missing, Program, run } from './process.js'
import { startServer, type ServerUnderTest } from './server.js'

const skip = missing({
  gajim: 'gajim', Xvfb: 'xvfb', 'dbus-daemon': 'dbus-daemon', xdotool: 'xdotool', import: 'imagemagick',
  'go-sendxmpp': 'go-sendxmpp', openssl: 'openssl',
})
const PASSWORD = 'a-secret-of-Verona'
/** Pixels of the screen that a blinking cursor changes, with much to spare. */
const CURSOR = 800
const WORDS = 'But soft! What light through yonder window breaks'

t.setTimeout(240_000)

t.test('a person with Gajim', { skip }, async t => {
  const server = await startServer(t)
  for (const local of ['romeo', 'juliet']) await server.addUser(local, PASSWORD)
  const jid = (local: string): string => `${local}@${server.domain}`
  const desktop = await Desktop.open(t, home => { settle(server, home) })
  const juliet = { env: { HOME: server.folder, SSL_CERT_FILE: server.certificate } }
  const goArgs = ['--username', jid('juliet'), '--password', PASSWORD, '--jserver', `${server.domain}:${server.port}`]
  const listener = new Program('go-sendxmpp', [...goArgs, '--debug', '--listen'], juliet)
  t.teardown(() => listener.stop())
  await listener.says(/<presence/)

  const gajim = desktop.start(t, 'gajim', ['--verbose'])

  t.test('logs in by SCRAM, with a certificate that the person trusts', async t => {
    await gajim.says(/Raise event: signed-in/, 60)
    t.match(gajim.said, /Chosen auth mechanism: SCRAM-SHA-/)
  })

  t.test('a message that is typed into its window reaches the contact', async t => {
    await desktop.type('Gajim', '', 'alt+1')
    await gajim.says(new RegExp(`Switch to ${jid('juliet')}`))
    await desktop.type('Gajim', `${WORDS}?`, 'Return')
    const [heard] = await listener.says(new RegExp(`^.*romeo@.*${WORDS}`, 'm'))
    t.match(heard, jid('romeo'))
  })

  t.test('the answer appears in the window', async t => {
    const before = join(server.folder, 'before.png')
    await desktop.picture(before)
    await run('go-sendxmpp', [...goArgs, jid('romeo')], { ...juliet, input: 'O Romeo, Romeo! Wherefore art thou Romeo?\n' })
    await gajim.says(/Raise event: message-received/)
    const after = await desktop.changed(before, join(PACKAGE_ROOT, '.tap', 'gajim.png'), CURSOR)
    t.ok(after > CURSOR, 'more than a cursor has changed on the screen')
  })
})

/** What the assistant for new accounts would write, and the certificate as a person has accepted it. */
function settle (server: ServerUnderTest, home: string): void {
  const config = join(home, 'config', 'gajim')
  const certificates = join(home, 'data', 'gajim', 'cert_store')
  for (const folder of [config, certificates]) mkdirSync(folder, { recursive: true })
  copyFileSync(server.certificate, join(certificates, 'localhost'))
  const settings = new Database(join(config, 'settings.sqlite'))
  settings.exec('CREATE TABLE settings (name TEXT UNIQUE, settings TEXT); CREATE TABLE account_settings (account TEXT UNIQUE, settings TEXT); PRAGMA user_version=5')
  const put = settings.prepare('INSERT INTO settings (name, settings) VALUES (?, ?)')
  const app = {
    remote_control: true, use_keyring: false, check_for_update: false, show_trayicon: false, show_notifications: false,
    mainwin_width: 960, mainwin_height: 600,
  }
  const chat = { account: 'verona', jid: { __type: 'JID', value: `juliet@${server.domain}` }, type: 'contact', pinned: false, position: -1 }
  const workspaces = { [randomUUID()]: { name: 'Verona', chats: [chat] } }
  for (const [name, values] of Object.entries({ app, soundevents: {}, status_presets: {}, proxies: {}, plugins: {}, workspaces })) {
    put.run(name, JSON.stringify(values))
  }
  settings.prepare('INSERT INTO account_settings (account, settings) VALUES (?, ?)').run('verona', JSON.stringify({
    account: {
      account_label: 'Verona', name: 'romeo', hostname: server.domain, password: PASSWORD, savepass: true, active: true, autoconnect: true,
      use_custom_host: true, custom_host: server.host, custom_port: server.port, custom_type: 'START TLS', resource: 'gajim',
    },
    contact: {},
    group_chat: {},
  }))
  settings.close()
}
