/** The account of a person who uses Gajim, as Gajim stores it. */
import Database from 'better-sqlite3'
import { randomUUID } from 'node:crypto'
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import type { ServerUnderTest } from './server.js'

/** A user of Gajim, and the contact with whom a chat is open. */
export interface GajimUser { readonly local: string, readonly contact: string, readonly password: string }

/**
 * Writes the files that Gajim's assistant for new accounts would write, and the certificate as one that the person
 * accepted.
 */
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
  const plugins = { drive: { active: true }, omemo: { active: true } }
  const all = { app, soundevents: {}, status_presets: {}, proxies: {}, plugins, workspaces }
  for (const [name, values] of Object.entries(all)) {
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

/** Adds the plugin with which a test runs Python in Gajim. */
export function addDrive (home: string): void {
  const folder = join(home, 'data', 'gajim', 'plugins', 'drive')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, '__init__.py'), 'from .drive import DrivePlugin\n')
  writeFileSync(join(folder, 'plugin-manifest.json'), JSON.stringify({
    authors: ['Sestina'], description: 'Runs commands of a test', homepage: 'https://example.org', config_dialog: false, name: 'Drive',
    platforms: ['linux'], requirements: ['gajim>=1.5.0'], short_name: 'drive', version: '1.0.0',
  }))
  copyFileSync(join(PACKAGE_ROOT, 'test', 'interop', 'gajim-drive.py'), join(folder, 'drive.py'))
}

/** Runs Python in Gajim, and returns what it prints with `p`. */
export async function drive (home: string, code: string): Promise<string> {
  const file = join(home, 'cmd.py')
  rmSync(`${file}.out`, { force: true })
  writeFileSync(`${file}.tmp`, code)
  chmodSync(`${file}.tmp`, 0o666)
  renameSync(`${file}.tmp`, file)
  for (let turns = 0; turns < 600; turns++) {
    if (existsSync(`${file}.out`)) return readFileSync(`${file}.out`, 'utf8')
    await sleep(100)
  }
  throw new Error(`Gajim did not run: ${code}`)
}

/** Returns the messages that Gajim stores, sorted; `env` is that of its desktop. */
export function messagesIn (env: Readonly<Record<string, string>>): readonly string[] {
  const logs = new Database(join(env['XDG_DATA_HOME'] ?? '', 'gajim', 'logs.db'), { readonly: true, timeout: 10_000 })
  const found = logs.prepare<[], string>('SELECT trim(message, char(10)) FROM logs WHERE message IS NOT NULL').pluck().all()
  logs.close()
  return found.sort()
}
