/** The one connection that writes: what waits for it becomes one transaction (group commit). It comes back by itself where it is lost. */
import { systemClock, type Clock, type Timer } from '../../base/clock.js'
import { randomIds } from '../../base/ids.js'
import type { Logger } from '../../base/logger.js'
import { StorageUnavailable } from '../store.js'
import { configOf, isLost, plain, unreachable, type Client, type ConnectionSettings, type Pg } from './client.js'
import { hold, nameOf, pause } from './hold.js'
import { columnsOf, type Result, type Row } from './rows.js'
import { takeSteps } from './steps.js'

export interface WriterSettings extends ConnectionSettings {
  readonly log: Logger
  /** How long writes and reads wait for a lost connection before they fail: milliseconds. */
  readonly patience?: number
}

/** Batches in one transaction, and the characters of their values. */
const GROUP = 1000
const GROUP_SIZE = 8 * 1024 * 1024
const PATIENCE = 5000
/** Pauses between attempts to connect: doubled from the first to the last, in milliseconds. */
const FIRST_PAUSE = 50
const LAST_PAUSE = 5000
/** How often one transaction is tried that loses its connection. */
const ATTEMPTS = 3
/** What columnsOf makes, behind the mark and the number. */
const COMMIT = 'SELECT commit_batches($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) AS changes'

export class PostgresWriter {
  readonly #pg: Pg
  readonly #settings: WriterSettings
  readonly #clock: Clock = systemClock
  readonly #answered: (results: readonly Result[]) => void
  /** Says which server has written: a fresh one for each start. */
  readonly #mark = randomIds.next()
  readonly #waiting: (readonly Row[])[] = []
  readonly #tasks: (() => Promise<void>)[] = []
  /** The last transaction that was asked for. */
  #number = 0
  #client: Client | undefined
  /** The backend of the last connection. */
  #backend: number | undefined
  #isWorking = false
  #isClosed = false
  /** Why there is no connection; undefined where there is one. */
  #why: Error | undefined
  /** The connection has been away for longer than anybody waits. */
  #isDown = false
  #patience: Timer | undefined
  #reconnecting: Promise<void> | undefined
  #pausing: (() => void) | undefined
  /** Who waits for the connection to be back, or to be given up. */
  #waits: (() => void)[] = []

  /** Connects, holds the database, and brings its tables to what this version knows. Throws where one of these cannot be. */
  static async open (pg: Pg, settings: WriterSettings, answered: (results: readonly Result[]) => void): Promise<PostgresWriter> {
    const writer = new PostgresWriter(pg, settings, answered)
    await writer.#connect(async client => {
      await takeSteps(client)
      await client.query('INSERT INTO writer (token, number, changes) VALUES ($1, 0, ARRAY[]::integer[]) ' +
        'ON CONFLICT (is_single) DO UPDATE SET token = excluded.token, number = 0, changes = excluded.changes', [writer.#mark])
      const { rows: [setting] } = await client.query<{ fsync: string }>('SELECT current_setting(\'fsync\') AS fsync')
      if (setting?.fsync !== 'on' && settings.durability === 'disk') {
        settings.log.warn('storage-unsafe', { reason: 'the database runs with fsync = off: what it says is stored does not survive a power cut' })
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

  /** Stores batches, behind those that were posted before; tells `answered` in their order. */
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
          reject(error instanceof StorageUnavailable ? error : plain(error))
        }
      })
      void this.#work()
    })
  }

  /** The connection, as soon as there is one. Throws StorageUnavailable once that has lasted too long. */
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
    this.#patience?.cancel()
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

  /** One transaction; or, where that fails, one for each batch: one that cannot be stored harms no other. */
  async #store (batches: readonly (readonly Row[])[]): Promise<readonly Result[]> {
    try {
      const changes = await this.#commit(batches)
      return batches.map((_, index) => [changes[index] ?? 0])
    } catch (error) {
      if (batches.length === 1 || error instanceof StorageUnavailable) return batches.map(() => [0, plain(error)])
      const results: Result[] = []
      for (const batch of batches) results.push(...await this.#store([batch]))
      return results
    }
  }

  /** Where the connection is lost in the middle, the database is asked whether it has committed before anything is sent again. */
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
      throw new Error(`the connection to the database was lost ${ATTEMPTS} times over one commit`)
    }
  }

  /** What the transaction changed; undefined where it was not committed. Whoever asks holds the lock: no older connection is at work. */
  async #outcomeOf (client: Client, number: number): Promise<readonly number[] | undefined> {
    const { rows: [row] } = await client.query<{ changes: number[] }>(
      'SELECT changes FROM writer WHERE token = $1 AND number = $2', [this.#mark, number])
    return row?.changes
  }

  /** A new connection that holds the database. `prepare` runs once the lock is had. */
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
      await client.end().catch(() => {}) // it may not have stood
      throw plain(error)
    }
  }

  #lose (client: Client, error: unknown): void {
    if (this.#client !== client) return
    this.#client = undefined
    void client.end().catch(() => {}) // what ends here is lost already
    if (this.#isClosed) return
    this.#why = plain(error)
    this.#settings.log.error('storage-lost', { error: this.#why })
    this.#patience = this.#clock.after(this.#settings.patience ?? PATIENCE, () => { this.#giveUp() })
    this.#reconnecting = this.#reconnect()
  }

  async #reconnect (): Promise<void> {
    for (let wait = FIRST_PAUSE; !this.#isClosed; wait = Math.min(wait * 2, LAST_PAUSE)) {
      try {
        await this.#connect(client => this.#checkWriter(client))
        this.#patience?.cancel()
        this.#isDown = false
        this.#why = undefined
        this.#settings.log.info('storage-found')
        this.#wake()
        return
      } catch (error) {
        this.#why = plain(error)
        if (error instanceof Error && error.message.startsWith(FOREIGN)) {
          this.#settings.log.error('storage-foreign', { error: this.#why })
          this.#giveUp()
          return
        }
      }
      await Promise.race([pause(this.#clock, wait), new Promise<void>(resolve => { this.#pausing = resolve })])
    }
  }

  /** What memory holds of a database that another server has written to is not true any more. */
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

const FOREIGN = 'another server has written to this database meanwhile: this one has to be started again'
