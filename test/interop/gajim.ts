/** The account of a person who uses Gajim, as Gajim keeps it. */
import Database from 'better-sqlite3'
import { randomUUID } from 'node:crypto'
import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { ServerUnderTest } from './server.js'

/** Who uses it, and whom they have an open chat with. */
export interface GajimUser { readonly local: string, readonly contact: string, readonly password: string }

/** What the assistant for new accounts would write, and the certificate as a person has accepted it. */
export function settle (server: ServerUnderTest, home: string, { local, contact, password }: GajimUser): void {
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
  const chat = { account: 'verona', jid: { __type: 'JID', value: `${contact}@${server.domain}` }, type: 'contact', pinned: false, position: -1 }
  const workspaces = { [randomUUID()]: { name: 'Verona', chats: [chat] } }
  for (const [name, values] of Object.entries({ app, soundevents: {}, status_presets: {}, proxies: {}, plugins: {}, workspaces })) {
    put.run(name, JSON.stringify(values))
  }
  settings.prepare('INSERT INTO account_settings (account, settings) VALUES (?, ?)').run('verona', JSON.stringify({
    account: {
      account_label: 'Verona', name: local, hostname: server.domain, password, savepass: true, active: true, autoconnect: true,
      use_custom_host: true, custom_host: server.host, custom_port: server.port, custom_type: 'START TLS', resource: 'gajim',
    },
    contact: {},
    group_chat: {},
  }))
  settings.close()
}
