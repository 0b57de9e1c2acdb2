/** The uploads of one service: their rows and their bytes, which never part. */
import type { Batch, Clock, Logger, TableRange, TableRow } from '../../lib/api.js'
import type { FilePlace, Files, Received } from './files.js'
import { Lanes } from './lanes.js'
import { folderOf, ownerOf, type Upload, type UploadStores } from './uploads.js'

export interface StockDeps {
  readonly domain: string
  readonly clock: Clock
  readonly log: Logger
  readonly stores: UploadStores
  readonly files: Files
  readonly batch: () => Batch & { commit (): Promise<void> }
}

/** The most rows that are read at a time. */
const PAGE = 100
/** The log event for files that stay on the disk until a later start. */
const NOT_REMOVED = 'files of a removed account not removed'

/**
 * Keeps rows and bytes together: a file is on the disk before its row says so, and is gone from the disk before
 * its row goes. Whatever a crash leaves is removed with its slot. All that changes an owner's rows enters its lane.
 */
export class Stock {
  readonly lanes = new Lanes()
  readonly files: Files
  readonly #deps: StockDeps
  /** The owners whose accounts are being removed. */
  readonly #leaving = new Set<string>()

  constructor (deps: StockDeps) {
    this.#deps = deps
    this.files = deps.files
  }

  ownerOf (account: string): string { return ownerOf(account, this.#deps.domain) }
  placeOf ({ account, id }: Pick<Upload, 'account' | 'id'>): FilePlace {
    return { folder: folderOf(this.ownerOf(account)), id }
  }

  /** True if the account of an owner is being removed. */
  isLeaving (owner: string): boolean { return this.#leaving.has(owner) }

  /** Returns the slot or file with this id; undefined if there is none, or if it has ended. */
  async find (id: string): Promise<Upload | undefined> {
    const { stores: { uploads }, domain, clock } = this.#deps
    const { rows: [row] } = await uploads.page({ host: domain }, { by: 'id', from: id, to: id, limit: 1 })
    if (row === undefined || this.isLeaving(row.owner)) return undefined
    return isOver(row.value, clock.now()) ? undefined : row.value
  }

  /**
   * Makes what has come the file of a slot, and stores its row. Returns false, and drops the bytes, if the slot is not
   * there any more or has got its file meanwhile.
   */
  async fill (slot: Upload, filled: Upload, received: Received): Promise<boolean> {
    const { stores: { uploads } } = this.#deps
    const owner = this.ownerOf(slot.account)
    return await this.lanes.run(owner, async () => {
      try {
        const now = await uploads.get(owner, slot.id)
        if (now?.state !== 'slot' || this.isLeaving(owner)) return false
        await received.keep()
        const batch = this.#deps.batch()
        batch.add(uploads.putting(owner, slot.id, filled))
        await batch.commit()
        return true
      } finally {
        await received.drop()
      }
    })
  }

  /** Removes a slot or file. Its bytes go first: if its row stays, it is removed again. */
  async remove ({ owner, key, value }: Pick<TableRow<Upload>, 'owner' | 'key' | 'value'>): Promise<void> {
    const { stores: { uploads, day } } = this.#deps
    await this.lanes.run(owner, async () => {
      const now = await uploads.get(owner, key)
      // A slot that has become a file meanwhile has another time.
      if (now?.state !== value.state) return
      await this.files.remove(this.placeOf(now))
      const batch = this.#deps.batch()
      batch.add(uploads.removing(owner, key))
      // A slot that was never used does not count for the day.
      if (now.state === 'slot') batch.add(day.removing(owner, key))
      await batch.commit()
    })
  }

  /** Goes through what is over at this time. */
  over (now: number): AsyncGenerator<TableRow<Upload>> { return this.#rows({ by: 'due', to: now }) }

  /** Goes through the files that make room for others, the oldest first. */
  oldest (): AsyncGenerator<TableRow<Upload>> { return this.#rows({ by: 'age' }) }

  async * #rows (range: TableRange): AsyncGenerator<TableRow<Upload>> {
    const { stores: { uploads }, domain } = this.#deps
    for (let after: string | undefined; ;) {
      const query = { ...range, limit: PAGE, ...after === undefined ? {} : { after } }
      const { rows, complete } = await uploads.page({ host: domain }, query)
      yield * rows
      after = rows.at(-1)?.place
      if (complete || after === undefined) return
    }
  }

  /** Returns the bytes of all files. A slot has none, so nobody's file makes room for a promise. */
  async bytes (): Promise<number> {
    const { stores: { uploads }, domain } = this.#deps
    return await uploads.sum({ host: domain }, 'file')
  }

  /** Lets all that an account has go with the batch. The bytes go after it is stored, if need be after a restart. */
  async removeAccount (account: string, batch: Batch): Promise<void> {
    const { stores: { uploads, day, leaving }, domain } = this.#deps
    const owner = this.ownerOf(account)
    const leave = await this.lanes.enter(owner)
    this.#leaving.add(owner)
    const stays = (): void => {
      this.#leaving.delete(owner)
      leave()
    }
    batch.failed(stays)
    if (await uploads.count({ owner }) === 0) { batch.committed(stays); return }
    batch.add(uploads.clearing(owner))
    batch.add(day.clearing(owner))
    batch.add(leaving.putting(domain, owner, true))
    batch.committed(() => {
      void this.#attempt(NOT_REMOVED, () => this.#removeFiles(owner)).finally(stays)
    })
  }

  /** Ends what a former process has left: bytes that were still coming, and the files of removed accounts. */
  async recover (): Promise<void> {
    const { stores: { leaving }, domain } = this.#deps
    await this.#attempt('unfinished files not removed', () => this.files.begin())
    for (const owner of (await leaving.all(domain)).keys()) {
      await this.#attempt(NOT_REMOVED, () => this.#removeFiles(owner))
    }
  }

  /** Logs an error of `work`: the next start tries again. */
  async #attempt (failure: string, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.#deps.log.error(failure, { error })
    }
  }

  async #removeFiles (owner: string): Promise<void> {
    await this.files.removeAll(folderOf(owner))
    await this.#deps.stores.leaving.put(this.#deps.domain, owner, undefined)
  }
}

export function isOver ({ due = Infinity }: Upload, now: number): boolean { return due <= now }
