/** Answers with files: to anybody who knows the address, and so that no browser runs anything in them. */
import contentDisposition from 'content-disposition'
import type { Clock, WebAnswer, WebRequest } from '../../lib/api.js'
import type { Stock } from './stock.js'
import type { Upload } from './uploads.js'

/** The longest time that a client may keep a copy without asking, in seconds. */
const KEPT = 86_400
/** Types that browsers show and never run. All others are saved. SVG has scripts. */
const SHOWN = /^(?:image\/(?!svg)|audio\/|video\/)|^text\/plain$/

export class Serving {
  readonly #stock: Stock
  readonly #clock: Clock

  constructor (stock: Stock, clock: Clock) {
    this.#stock = stock
    this.#clock = clock
  }

  async answer (request: WebRequest): Promise<WebAnswer> {
    const { id = '', name } = request.params
    const file = await this.#stock.find(id)
    if (file?.state !== 'file' || file.name !== name) return { status: 404 }
    const { status, headers = {}, body } = await this.#stock.files.answer(this.#stock.placeOf(file), request)
    if (status >= 400) return { status, headers }
    const told = { ...headers, ...this.#headersOf(file) }
    return { status, headers: told, ...body === undefined || request.isHead ? {} : { body } }
  }

  #headersOf ({ name, type, due = Infinity }: Upload): Readonly<Record<string, string>> {
    const left = Math.floor((due - this.#clock.now()) / 1000)
    return {
      'content-type': type.startsWith('text/') ? `${type}; charset=utf-8` : type,
      'content-disposition': contentDisposition(name, {
        type: SHOWN.test(type) ? 'inline' : 'attachment',
        // RFC 6266 §4.3: what is not ASCII is in filename* alone.
        fallback: name.replace(/[^\x20-\x7E]/g, '_'),
      }),
      // The bytes at an address never change. A copy ends with the file.
      'cache-control': `private, immutable, max-age=${Math.max(0, Math.min(KEPT, left))}`,
    }
  }
}
