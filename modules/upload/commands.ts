/** `sestina upload list` and `sestina upload remove`: the files of an account. */
import { parseJid, StanzaError } from '../../lib/api.js'
import type { Table, TableRow } from '../../lib/api.js'
import type { Stock } from './stock.js'
import type { Upload } from './uploads.js'

/** The most files that a command reads. */
const MOST = 1000

export class Commands {
  readonly #stock: Stock
  readonly #uploads: Table<Upload>
  readonly #urlOf: (upload: Upload) => string | undefined

  constructor (stock: Stock, uploads: Table<Upload>, urlOf: (upload: Upload) => string | undefined) {
    this.#stock = stock
    this.#uploads = uploads
    this.#urlOf = urlOf
  }

  /** Returns the files of an account. Throws JidError or StanzaError for words that cannot be read. */
  async list ([address = '', ...more]: readonly string[]): Promise<unknown> {
    if (more.length > 0) throw new StanzaError('bad-request', 'upload list ADDRESS')
    return (await this.#filesOf(address)).map(({ value: { id, name, size, type, purpose, made, due, ...other } }) => ({
      id, name, size, type, purpose, sent: new Date(made).toISOString(),
      ends: due === undefined ? 'never' : new Date(due).toISOString(),
      url: this.#urlOf({ id, name, size, type, purpose, made, ...other }),
    }))
  }

  /** Removes one file of an account, or all. Throws as `list` does, and item-not-found if there is none. */
  async remove ([address = '', id = '', ...more]: readonly string[]): Promise<unknown> {
    if (id === '' || more.length > 0) throw new StanzaError('bad-request', 'upload remove ADDRESS FILE · upload remove ADDRESS all')
    const wanted = (await this.#filesOf(address)).filter(({ value }) => id === 'all' || value.id === id)
    if (wanted.length === 0) throw new StanzaError('item-not-found', 'there is no such file')
    for (const row of wanted) await this.#stock.remove(row)
    return `${wanted.length} removed`
  }

  async #filesOf (address: string): Promise<readonly TableRow<Upload>[]> {
    const owner = this.#stock.ownerOf(parseJid(address).bare.toString())
    const { rows } = await this.#uploads.page({ owner }, { limit: MOST })
    return rows.filter(({ value: { state } }) => state === 'file')
  }
}
