/** Quotas: what an account may have at a time and send in a day, and what the service holds of all accounts. */
import { formatDateTime, NS, StanzaError, xml } from '../../lib/api.js'
import type { Rules } from './rules.js'
import { shareOf, type Purpose, type UploadStores } from './uploads.js'

export const DAY = 86_400_000
/** How many rows are looked at to say when there is room again. With more, the answer is the time of the last. */
const LOOKED_AT = 500

interface Wanted { readonly purpose: Purpose, readonly size: number }

/** A row that will make room. */
interface Leaving { readonly size: number, readonly due: number }

export class Quota {
  readonly #stores: Pick<UploadStores, 'uploads' | 'day'>
  readonly #rules: Rules
  readonly #domain: string

  constructor (stores: Pick<UploadStores, 'uploads' | 'day'>, rules: Rules, domain: string) {
    this.#stores = stores
    this.#rules = rules
    this.#domain = domain
  }

  /**
   * Throws StanzaError if an owner has no room for another file: resource-constraint, with the time from which on there
   * is room, as far as that is known (XEP-0363 §6).
   */
  async check (owner: string, wanted: Wanted, now: number): Promise<void> {
    await this.#checkDay(owner, wanted, now)
    await this.#checkAccount(owner, wanted, now)
    await this.#checkService(wanted)
  }

  async #checkDay (owner: string, { size }: Wanted, now: number): Promise<void> {
    const { day } = this.#stores
    const { bytesPerDay, filesPerDay } = this.#rules.settings
    const from = now + 1
    const slots = await day.count({ owner }, { by: 'due', from })
    const over = await day.sum({ owner }, 'size') + size - bytesPerDay
    if (slots < filesPerDay && over <= 0) return
    // Rows that are over count in the sum until they are removed.
    const past = await day.page({ owner }, { by: 'due', to: now, limit: LOOKED_AT })
    const left = over - past.rows.reduce((sum, { value }) => sum + value.size, 0)
    if (slots < filesPerDay && left <= 0) return
    const { rows } = await day.page({ owner }, { by: 'due', from, limit: LOOKED_AT })
    throw full('no more files may be sent today', roomAt(rows.map(({ value }) => value), left, slots + 1 - filesPerDay))
  }

  async #checkAccount (owner: string, { size, purpose }: Wanted, now: number): Promise<void> {
    const { uploads } = this.#stores
    const share = shareOf(purpose)
    const files = await uploads.count({ owner })
    const over = await uploads.sum({ owner }, share) + size - this.#rules.quota(share)
    const tooMany = files + 1 - this.#rules.settings.filesPerAccount
    if (tooMany <= 0 && over <= 0) return
    const { rows } = await uploads.page({ owner }, { by: 'due', from: now, limit: LOOKED_AT })
    const leaving = rows.flatMap(({ value: { state, purpose, size, due } }): Leaving[] => {
      return state === 'file' && due !== undefined && shareOf(purpose) === share ? [{ size, due }] : []
    })
    throw full('the files of the account take all the room that they may', roomAt(leaving, over, tooMany))
  }

  /** Files of messages make room for others, so only those that stay can fill the service. */
  async #checkService ({ size }: Wanted): Promise<void> {
    const { uploads } = this.#stores
    const scope = { host: this.#domain }
    const staying = await uploads.sum(scope, 'profile') + await uploads.sum(scope, 'permanent')
    if (staying + size > this.#rules.settings.bytes) throw full('the service is full', undefined)
  }
}

/**
 * Returns when the rows, in the order in which they leave, have made this room, in bytes and in rows; undefined if all
 * of them leave too little.
 */
function roomAt (rows: readonly Leaving[], bytes: number, count: number): number | undefined {
  let freed = 0
  for (const [index, { size, due }] of rows.entries()) {
    freed += size
    if (freed >= bytes && index + 1 >= count) return due
  }
  return rows.length === LOOKED_AT ? rows.at(-1)?.due : undefined
}

function full (text: string, at: number | undefined): StanzaError {
  if (at === undefined) return new StanzaError('resource-constraint', text)
  // Rounded up: a client that comes back at that second finds room.
  const stamp = formatDateTime(Math.ceil((at + 1) / 1000) * 1000)
  return new StanzaError('resource-constraint', text, { plus: xml('retry', { xmlns: NS.UPLOAD, stamp }) })
}
