/** The account of a person who uses Dino, as Dino stores it, and Dino on a desktop. */
import Database from 'better-sqlite3'
import { randomInt } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Desktop } from './desktop.js'
import { Failure, NOBODY, PATIENCE, Program } from './process.js'
import { Zone } from './s2s/dns.js'
import type { ServerUnderTest } from './server.js'

/** How Dino writes that a message is encrypted with OMEMO. */
export const OMEMO = 2
/** Where Debian keeps the authorities that programs trust. */
const AUTHORITIES = '/etc/ssl/certs/ca-certificates.crt'

/** A user of Dino, and the contact with whom a chat is open and encrypted. */
export interface DinoUser { readonly local: string, readonly contact: string, readonly password: string }

/** Writes what Dino stores for an account and a chat. It adds the tables that are missing. */
export function settleDino (server: ServerUnderTest, home: string, { local, contact, password }: DinoUser): void {
  const folder = join(home, 'data', 'dino')
  mkdirSync(folder, { recursive: true })
  const store = new Database(join(folder, 'dino.db'))
  store.exec(`
CREATE TABLE account (id INTEGER PRIMARY KEY AUTOINCREMENT, bare_jid TEXT NOT NULL UNIQUE, resourcepart TEXT, password TEXT, alias TEXT,
  enabled INTEGER, roster_version TEXT, mam_earliest_synced INTEGER);
CREATE TABLE jid (id INTEGER PRIMARY KEY AUTOINCREMENT, bare_jid TEXT NOT NULL UNIQUE);
CREATE TABLE conversation (id INTEGER PRIMARY KEY AUTOINCREMENT, account_id INTEGER NOT NULL, jid_id INTEGER NOT NULL, resource TEXT, active INTEGER,
  active_last_changed INTEGER NOT NULL DEFAULT 0, last_active INTEGER, type INTEGER, encryption INTEGER, read_up_to INTEGER,
  read_up_to_item INTEGER NOT NULL DEFAULT -1, notification INTEGER, send_typing INTEGER, send_marker INTEGER, pinned INTEGER DEFAULT 0)`)
  store.prepare("INSERT INTO account (bare_jid, resourcepart, password, alias, enabled, roster_version, mam_earliest_synced) VALUES (?, 'dino', ?, '', 1, '', 0)")
    .run(`${local}@${server.domain}`, password)
  store.prepare('INSERT INTO jid (bare_jid) VALUES (?)').run(`${contact}@${server.domain}`)
  store.prepare('INSERT INTO conversation (account_id, jid_id, active, last_active, type, encryption, notification, send_typing, send_marker) VALUES (1, 1, 1, 1, 0, ?, 0, 0, 0)').run(OMEMO)
  store.close()
}

/** How often Dino is given a text: what is typed before a chat has the focus is lost. */
const TURNS = 5
/** After which Dino has not got a text, in seconds. */
const LOST = 15

/** Dino, running on a desktop. */
export class Dino {
  readonly program: Program
  readonly #desktop: Desktop

  private constructor (program: Program, desktop: Desktop) {
    this.program = program
    this.#desktop = desktop
  }

  /**
   * Starts Dino; it is ended when the test ends. Dino finds the server by DNS and trusts the authorities of the system.
   * So it sees a DNS server of its own, and the server's certificate as the only authority. Needs root.
   */
  static async start (t: Test, server: ServerUnderTest, desktop: Desktop): Promise<Dino> {
    const zone = await Zone.at(t, `127.${randomInt(1, 255)}.${randomInt(1, 255)}.1`)
    const target = { priority: 5, weight: 1, port: server.port, target: server.domain }
    zone.add({ type: 'SRV', name: `_xmpp-client._tcp.${server.domain}`, ttl: 60, data: target })
    const names = join(server.folder, 'resolv.conf')
    const authorities = join(server.folder, 'authorities.pem')
    writeFileSync(names, `nameserver ${zone.address}\noptions timeout:2 attempts:2\n`)
    writeFileSync(authorities, readFileSync(server.certificate)) // a copy would keep the mode
    const script = `mount --bind "$0" /etc/resolv.conf && mount --bind "$1" ${AUTHORITIES} && shift && exec "$@"`
    const user = String(NOBODY?.uid)
    const program = new Program('unshare', ['--mount', 'sh', '-c', script, names, authorities,
      'setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups', 'dino-im', '--print-xmpp=all'],
    { env: { ...desktop.env, GSK_RENDERER: 'cairo' } })
    t.teardown(() => program.stop())
    return new Dino(program, desktop)
  }

  /** Returns what a query finds in one of Dino's files; nothing while the file or the table is missing. */
  rows (query: string, file = 'dino.db'): readonly unknown[] {
    const path = this.#path(file)
    if (!existsSync(path)) return []
    const store = new Database(path, { readonly: true, timeout: 10_000 })
    try {
      return store.prepare(query).raw().all().map(row => (row as unknown[]).join(' '))
    } catch (error) {
      if (error instanceof Database.SqliteError && error.message.startsWith('no such table')) return []
      throw error
    } finally {
      store.close()
    }
  }

  /** Waits until a query finds this row. */
  async has (row: string, query: string, file?: string): Promise<void> {
    if (!await this.#until(() => this.rows(query, file).includes(row), PATIENCE)) {
      throw new Failure(`Dino does not store '${row}', but ${this.rows(query, file).join(', ')}`, this.program.said)
    }
  }

  /** Waits until Dino has stored the avatar with this hash. */
  async hasAvatar (hash: string): Promise<boolean> {
    return await this.#until(() => existsSync(this.#path(join('avatars', hash))), PATIENCE)
  }

  /** Opens the chat with a contact or a room, types a text and sends it. Returns once Dino has stored it. */
  async says (address: string, text: string): Promise<void> {
    const [conversation] = this.rows(`SELECT conversation.id FROM conversation JOIN jid ON jid.id = jid_id WHERE bare_jid = '${address}'`)
    const isStored = (): boolean => this.rows(`SELECT 1 FROM message WHERE body = '${text}'`).length > 0
    for (let turn = 0; turn < TURNS; turn++) {
      await this.#desktop.run('gdbus', 'call', '--session', '--dest', 'im.dino.Dino', '--object-path', '/im/dino/Dino',
        '--method', 'org.gtk.Actions.Activate', 'open-conversation', `[<${String(conversation)}>]`, '{}')
      await this.#desktop.run('xdotool', 'key', 'ctrl+a') // what is left of an earlier turn
      await this.#desktop.run('xdotool', 'type', '--delay', '20', text)
      await this.#desktop.run('xdotool', 'key', 'Return')
      if (await this.#until(isStored, LOST)) return
    }
    throw new Failure(`Dino does not send '${text}'`, this.program.said)
  }

  #path (file: string): string { return join(this.#desktop.env['XDG_DATA_HOME'] ?? '', 'dino', file) }

  async #until (isSo: () => boolean, seconds: number): Promise<boolean> {
    const end = performance.now() + seconds * 1000
    while (!isSo()) {
      if (performance.now() > end) return false
      await sleep(100)
    }
    return true
  }
}
