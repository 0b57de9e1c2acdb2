/**
 * Lets only one server use a database, with an advisory lock of the writing connection. A server that loses the lock
 * loses that connection too, and cannot write.
 */
import { hostname } from 'node:os'
import type { Clock } from '../../base/clock.js'
import { shortened } from '../../base/text.js'
import type { Client } from './client.js'

/** The key of the lock in two halves: 'sest', 'ina'. */
const KEY = [0x73657374, 0x696e61]
/** How long to wait, in milliseconds, until the database notices that a connection is gone and frees its lock. */
const LOCK_TIMEOUT = 2000
const PAUSE = 50

/** Thrown if another server holds the database. */
export class HeldElsewhere extends Error {}

/** Returns the name of this process's connections, at most 63 bytes long. */
export function nameOf (pid: number): string { return shortened(`sestina ${pid}@${hostname()}`, 63) }

/** Resolves after this many milliseconds. */
export function pause (clock: Clock, ms: number): Promise<void> {
  return new Promise(resolve => { clock.after(ms, resolve) })
}

/**
 * Takes the lock for this connection. `before` is the backend of this server's lost connection; if that still holds the
 * lock, it is terminated. Throws HeldElsewhere, which names the holder.
 */
export async function hold (client: Client, clock: Clock, before: number | undefined): Promise<void> {
  const until = clock.now() + LOCK_TIMEOUT
  for (;;) {
    const { rows: [got] } = await client.query<{ ok: boolean }>(
      'SELECT pg_try_advisory_lock($1::int, $2::int) AS ok', KEY)
    if (got?.ok === true) return
    const holder = await holderOf(client)
    if (holder !== undefined && holder.backend === before && holder.name === nameOf(process.pid)) {
      await client.query('SELECT pg_terminate_backend($1)', [before])
    } else if (clock.now() >= until) {
      throw new HeldElsewhere(`the database is held by ${said(holder)}: one server at a time can use it`)
    }
    await pause(clock, PAUSE)
  }
}

interface Holder { readonly backend: number, readonly name: string, readonly since: string | null }

async function holderOf (client: Client): Promise<Holder | undefined> {
  const { rows } = await client.query<Holder>(
    'SELECT l.pid AS backend, coalesce(a.application_name, \'\') AS name, ' +
    'to_char(a.backend_start AT TIME ZONE \'UTC\', \'YYYY-MM-DD"T"HH24:MI:SS"Z"\') AS since ' +
    'FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid ' +
    'WHERE l.locktype = \'advisory\' AND l.granted ' +
    'AND l.classid::bigint = $1 AND l.objid::bigint = $2 AND l.objsubid = 2 ' +
    'AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())', KEY)
  return rows[0]
}

function said (holder: Holder | undefined): string {
  const [, pid, host] = /^sestina (\d+)@(.+)$/.exec(holder?.name ?? '') ?? []
  const who = pid === undefined || host === undefined ? 'another server' : `process ${pid} at ${host}`
  return `${who} since ${holder?.since ?? 'just now'}`
}
