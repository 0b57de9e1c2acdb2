/**
 * The one connection that writes: all batches that wait for it become one transaction (group commit). It reconnects by
 * itself if the connection is lost.
 */
import { systemClock, type Clock, type Timer } from '../../base/clock.js'
import { randomIds } from '../../base/ids.js'
import type { Logger } from '../../base/logger.js'
import { StorageUnavailable } from '../store.js'
import { configOf, isLost, withoutDetails, unreachable, type Client, type ConnectionSettings, type Pg } from './client.js'
import { hold, nameOf, pause } from './hold.js'
import { ListedOwners } from './listed.js'
import { LogWriter } from './log-writer.js'
import { columnsOf, type Result, type Row } from './rows.js'
import { takeSteps } from './steps.js'

export interface WriterSettings extends ConnectionSettings {
  readonly log: Logger
  /** How long writes and reads wait for a lost connection before they fail, in milliseconds. */
  readonly patience?: number
}

/** The most batches in one transaction, and the number of characters of values at which it takes no further batch. */
const GROUP = 1000
const GROUP_SIZE = 8 * 1024 * 1024
const RECONNECT_TIMEOUT = 5000
/** The first and the last pause between attempts to connect, in milliseconds; it doubles in between. */
const FIRST_PAUSE = 50
const LAST_PAUSE = 5000
/** The number of times that one transaction is tried if it loses its connection. */
const ATTEMPTS = 3
/** The parameters after the token and the number come from columnsOf. */
const COMMIT = 'SELECT commit_batches($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) AS changes'

export class PostgresWriter {
  readonly #pg: Pg
  readonly #settings: WriterSettings
  readonly #clock: Clock = systemClock
  readonly #answered: (results: readonly Result[]) => void
  /** The token that shows which server has written; each start makes a new one. */
  readonly #mark = randomIds.next()
  readonly #waiting: (readonly Row[])[] = []
  readonly #listed = new ListedOwners()
  readonly #logs = new LogWriter()
  readonly #tasks: (() => Promise<void>)[] = []
  /** The number of the transaction that was begun last. */
  #number = 0
  #client: Client | undefined
  /** The backend of the last connection. */
  #backend: number | undefined
  #isWorking = false
  #isClosed = false
  /** Why there is no connection; undefined if there is one. */
  #why: Error | undefined
  /** True if the connection has been lost for longer than callers wait. */
  #isDown = false
  #reconnectTimer: Timer | undefined
  #reconnecting: Promise<void> | undefined
  #pausing: (() => void) | undefined
  /** Callbacks that wait until the connection is back, or is given up. */
  #waits: (() => void)[] = []

  /** Connects, locks the database, and brings its tables to this version. Throws if one of these is not possible. */
  static async open (
    pg: Pg, settings: WriterSettings, answered: (results: readonly Result[]) => void,
  ): Promise<PostgresWriter> {
    const writer = new PostgresWriter(pg, settings, answered)
    await writer.#connect(async client => {
      await takeSteps(client)
      const sql = 'INSERT INTO writer (token, number, changes) VALUES ($1, 0, ARRAY[]::integer[]) ' +
        'ON CONFLICT (is_single) DO UPDATE SET token = excluded.token, number = 0, changes = excluded.changes'
      await client.query(sql, [writer.#mark])
      const { rows: [setting] } = await client.query<{ fsync: string }>('SELECT current_setting(\'fsync\') AS fsync')
      if (setting?.fsync !== 'on' && settings.durability === 'disk') {
        settings.log.warn('storage unsafe', {
          reason: 'the database runs with fsync = off: a power cut can lose what it has stored',
        })
      }
    })
    return writer
  }

  private constructor (pg: Pg, settings: WriterSettings, answered: (results: readonly Result[]) => void) {
    this.#pg = pg
    this.#settings = settings
    this.#answered = answered
  }

  get trouble (): Error | undefined { return this.#why }

  /** Stores batches after those that were posted before; calls `answered` with the results in the same order. */
  post (batches: readonly (readonly Row[])[]): void {
    for (const batch of batches) this.#waiting.push(batch)
    void this.#work()
  }

  /** Runs `work` on the connection, between two transactions. */
  between<T> (work: (client: Client) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#tasks.push(async () => {
        try {
          resolve(await work(await this.connection()))
        } catch (error) {
          reject(error instanceof StorageUnavailable ? error : withoutDetails(error))
        }
      })
      void this.#work()
    })
  }

  /** Returns the connection as soon as there is one. Throws StorageUnavailable if that takes too long. */
  async connection (): Promise<Client> {
    while (this.#client === undefined) {
      if (this.#isDown || this.#isClosed) throw new StorageUnavailable(this.#why?.message ?? 'storage is closed')
      await new Promise<void>(resolve => { this.#waits.push(resolve) })
    }
    return this.#client
  }

  /** Ends the connection; nothing may wait for it any more. */
  async close (): Promise<void> {
    this.#isClosed = true
    this.#reconnectTimer?.cancel()
    this.#pausing?.()
    this.#wake()
    await this.#reconnecting
    await this.#client?.end()
  }

  async #work (): Promise<void> {
    if (this.#isWorking) return
    this.#isWorking = true
    for (;;) {
      const task = this.#tasks.shift()
      if (task !== undefined) await task()
      else if (this.#waiting.length > 0) this.#answered(await this.#store(this.#take()))
      else break
    }
    this.#isWorking = false
  }

  #take (): readonly (readonly Row[])[] {
    let size = 0
    let count = 0
    while (count < GROUP && count < this.#waiting.length && size < GROUP_SIZE) {
      for (const { value, words } of this.#waiting[count] ?? []) size += (value?.length ?? 0) + (words?.length ?? 0)
      count++
    }
    return this.#waiting.splice(0, count)
  }

  /**
   * Stores the batches in one transaction. If that fails, stores each in a transaction of its own, so that a batch that
   * cannot be stored does not affect the others.
   */
  async #store (batches: readonly (readonly Row[])[]): Promise<readonly Result[]> {
    const { batches: reduced, stored } = this.#listed.reduce(batches)
    try {
      const changes = await this.#commit(await this.#fold(reduced))
      stored()
      return batches.map((_, index) => [changes[index] ?? 0])
    } catch (error) {
      this.#logs.forget()
      if (batches.length === 1 || error instanceof StorageUnavailable) {
        return batches.map(() => [0, withoutDetails(error)])
      }
      const results: Result[] = []
      for (const batch of batches) results.push(...await this.#store([batch]))
      return results
    }
  }

  /** Turns writes to logs into segments. */
  async #fold (batches: readonly (readonly Row[])[]): Promise<readonly (readonly Row[])[]> {
    if (!this.#logs.isNeeded(batches)) return batches
    for (let tries = 1; ; tries++) {
      const client = await this.connection()
      try {
        return await this.#logs.fold(client, batches)
      } catch (error) {
        this.#logs.forget()
        if (!isLost(error) || tries === ATTEMPTS) throw error
        this.#lose(client, error)
      }
    }
  }

  /**
   * Commits the batches. If the connection is lost meanwhile, asks the database whether it committed them before
   * sending them again.
   */
  async #commit (batches: readonly (readonly Row[])[]): Promise<readonly number[]> {
    const number = ++this.#number
    const values = [this.#mark, number, ...columnsOf(batches)]
    let tries = 0
    for (;;) {
      const client = await this.connection()
      try {
        const done = tries === 0 ? undefined : await this.#outcomeOf(client, number)
        if (done !== undefined) return done
        if (tries < ATTEMPTS) {
          tries++
          const { rows: [answer] } = await client.query<{ changes: number[] }>({ name: 'commit', text: COMMIT, values })
          return answer?.changes ?? []
        }
      } catch (error) {
        if (!isLost(error)) throw error
        this.#lose(client, error)
        continue
      }
      throw new Error(`the connection to the database was lost ${ATTEMPTS} times during one commit`)
    }
  }

  /**
   * Returns what the transaction changed; undefined if it was not committed. The caller holds the lock, so no older
   * connection is still at work.
   */
  async #outcomeOf (client: Client, number: number): Promise<readonly number[] | undefined> {
    const { rows: [row] } = await client.query<{ changes: number[] }>(
      'SELECT changes FROM writer WHERE token = $1 AND number = $2', [this.#mark, number])
    return row?.changes
  }

  /** Opens a connection and locks the database. `prepare` runs when the lock is held. */
  async #connect (prepare: (client: Client) => Promise<void>): Promise<void> {
    const client = new this.#pg.Client(configOf(this.#pg, this.#settings, nameOf(process.pid), false))
    const lost: unknown[] = []
    client.on('error', error => {
      lost.push(error)
      this.#lose(client, error)
    })
    try {
      await client.connect().catch((error: unknown) => { throw unreachable(error) })
      await hold(client, this.#clock, this.#backend)
      const { rows: [state] } = await client.query<{ read_only: string, backend: number }>(
        'SELECT current_setting(\'transaction_read_only\') AS read_only, pg_backend_pid() AS backend')
      if (state?.read_only !== 'off') throw new Error('the database is read-only: it is a standby, or being restored')
      await prepare(client)
      if (lost.length > 0) throw lost[0]
      this.#backend = state.backend
      this.#client = client
    } catch (error) {
      await client.end().catch(() => {}) // the connection may never have been open
      throw withoutDetails(error)
    }
  }

  #lose (client: Client, error: unknown): void {
    if (this.#client !== client) return
    this.#client = undefined
    void client.end().catch(() => {}) // the connection is lost already
    if (this.#isClosed) return
    this.#why = withoutDetails(error)
    this.#settings.log.error('storage connection lost', { error: this.#why })
    this.#reconnectTimer = this.#clock.after(this.#settings.patience ?? RECONNECT_TIMEOUT, () => { this.#giveUp() })
    this.#reconnecting = this.#reconnect()
  }

  async #reconnect (): Promise<void> {
    for (let wait = FIRST_PAUSE; !this.#isClosed; wait = Math.min(wait * 2, LAST_PAUSE)) {
      try {
        await this.#connect(client => this.#checkWriter(client))
        this.#reconnectTimer?.cancel()
        this.#isDown = false
        this.#why = undefined
        this.#settings.log.info('storage connection restored')
        this.#wake()
        return
      } catch (error) {
        this.#why = withoutDetails(error)
        if (error instanceof Error && error.message.startsWith(FOREIGN)) {
          this.#settings.log.error('storage taken over', { error: this.#why })
          this.#giveUp()
          return
        }
      }
      await Promise.race([pause(this.#clock, wait), new Promise<void>(resolve => { this.#pausing = resolve })])
    }
  }

  /** Throws if another server has written to the database: what memory holds of it is no longer true then. */
  async #checkWriter (client: Client): Promise<void> {
    const { rows: [row] } = await client.query<{ mark: string }>('SELECT token AS mark FROM writer')
    if (row?.mark !== this.#mark) throw new Error(FOREIGN)
  }

  #giveUp (): void {
    this.#isDown = true
    this.#wake()
  }

  #wake (): void {
    const waits = this.#waits
    this.#waits = []
    for (const wake of waits) wake()
  }
}

const FOREIGN = 'another server has written to this database meanwhile: this server must be restarted'
