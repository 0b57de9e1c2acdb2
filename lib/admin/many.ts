/** Adds many accounts at once, from CSV (RFC 4180): an address with a password, or with keys instead of one. */
import { HASH_NAMES } from '../auth/keys.js'
import { PendingBatch } from '../storage/batch.js'
import { accountCreated } from '../host/events.js'
import type { Host } from '../host/host.js'
import type { Server } from '../host/server.js'
import { parseJid, type Jid } from '../xmpp/jid.js'
import { credentialsOf, type Credentials } from './imported-keys.js'
import { CommandError, type Operator } from './talk.js'

/**
 * The number of accounts that are added at a time: enough to fill a commit, but few passwords that wait to be hashed.
 */
const AT_ONCE = 32
/** The number of accounts between two progress reports. */
const TOLD_EVERY = 100

/** The number of accounts that were added, and of lines that were not. */
export interface Added { readonly added: number, readonly problems: number }

/**
 * Adds the account of each line: `address,password` or `address,,SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY`. A
 * wrong line is reported and left out; `isMistake` is true for the errors that a line causes. Rethrows all others.
 */
export async function addAccounts (
  server: Server, csv: string, talk: Operator, isMistake: (error: unknown) => boolean,
): Promise<Added> {
  const rows = rowsIn(csv)
  const counts = { added: 0, problems: 0 }
  let next = 0
  const work = async (): Promise<void> => {
    for (let row = rows[next++]; row !== undefined; row = rows[next++]) {
      if (talk.gone) throw new CommandError(`interrupted: ${counts.added} accounts were added`)
      try {
        await addOne(server, row)
        counts.added++
      } catch (error) {
        if (!isMistake(error)) throw error
        counts.problems++
        await talk.tell({ kind: 'problem', text: `line ${row.line}: ${error instanceof Error ? error.message : String(error)}` })
      }
      const done = counts.added + counts.problems
      if (done % TOLD_EVERY === 0) await talk.tell({ kind: 'progress', done, of: rows.length, text: `${counts.added} accounts` })
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return counts
}

interface Row { readonly line: number, readonly cells: readonly string[] }

/**
 * Returns the lines that are not empty, without a heading (a first line without an address). Throws CommandError if a
 * quote is not closed.
 */
function rowsIn (csv: string): readonly Row[] {
  const rows: Row[] = []
  let [line, row, cells] = [1, 1, new Array<string>()]
  let end = -1
  const cell = /(?:"((?:[^"]|"")*)"|([^,"\r\n]*))(,|\r?\n|$)/gy
  while (end !== csv.length) {
    cell.lastIndex = Math.max(end, 0)
    const found = cell.exec(csv)
    if (found === null) throw new CommandError(`line ${line}: a cell with a quote in it must be in quotes, with each of its quotes doubled`)
    const [whole, quoted, plain = '', separator] = found
    end = cell.lastIndex
    cells.push(quoted?.replaceAll('""', '"') ?? plain)
    line += whole.split('\n').length - 1
    if (separator === ',') continue
    if (cells.some(text => text !== '')) rows.push({ line: row, cells })
    ;[row, cells] = [line, []]
    if (separator === '') break
  }
  return rows[0]?.cells[0]?.includes('@') === false ? rows.slice(1) : rows
}

async function addOne (server: Server, { cells: [address = '', password = '', keys = ''] }: Row): Promise<void> {
  const jid = parseJid(address.trim())
  const host = server.hostOf(jid)
  if (host === undefined || jid.local === '') throw new CommandError(`${address} is not an account of a host of this server`)
  if (keys === '') await host.createAccount(jid.bare, password)
  else await addWithKeys(host, jid.bare, keys.trim())
}

/** Stores the keys and the account in one commit, so that neither exists without the other. */
async function addWithKeys (host: Host, account: Jid, text: string): Promise<void> {
  const { hash, keys } = keysIn(text)
  const batch = new PendingBatch()
  batch.add(await host.accounts.arriving(account, undefined, { [hash]: keys }))
  await host.hooks.fire(accountCreated, { account, batch })
  await host.commit(batch)
}

/** Reads keys as RFC 5803 §2 writes them, with salt and keys in base64. Throws CommandError or StanzaError. */
function keysIn (text: string): Credentials {
  const [, name = '', iterations = '', salt = '', storedKey = '', serverKey = ''] = /^(SCRAM-SHA-\d+)\$(\d+):([^$:]+)\$([^$:]+):([^$:]+)$/.exec(text) ?? []
  const hash = HASH_NAMES.find(known => `SCRAM-${known.toUpperCase()}` === name)
  if (hash === undefined) throw new CommandError('its keys must be written SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY')
  return credentialsOf(hash, { iterations, salt, storedKey, serverKey })
}
