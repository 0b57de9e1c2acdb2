/** Which devices are here, written down: what a crash leaves of them in the eyes of others is a ghost. */
import { jidOf, parseJid } from '../../lib/api.js'
import type { Clock, Jid, ModuleHost, Records, Timer } from '../../lib/api.js'

/** A device that has come or gone is written down within so many milliseconds, together with others. */
const WITHIN = 1000
/** With so many to be written down nobody waits for more. */
const MANY = 5000
/** Accounts that are looked at at a time. */
const PAGE = 500

interface HereHost {
  readonly domain: string
  readonly clock: Clock
  readonly store: Records<true>
  batch (): ReturnType<ModuleHost['batch']>
  trouble (error: unknown): void
}

export class Here {
  readonly #host: HereHost
  /** What is to be written down: whether it is here. */
  #news = new Map<string, boolean>()
  #timer: Timer | undefined

  constructor (host: HereHost) { this.#host = host }

  came (jid: Jid): void { this.#note(jid, true) }
  went (jid: Jid): void { this.#note(jid, false) }

  #note (jid: Jid, isHere: boolean): void {
    this.#news.set(jid.toString(), isHere)
    if (this.#news.size >= MANY) void this.flush()
    else this.#timer ??= this.#host.clock.after(WITHIN, () => { void this.flush() })
  }

  /** Writes down what is due. */
  async flush (): Promise<void> {
    this.#timer?.cancel()
    this.#timer = undefined
    const { store } = this.#host
    const news = this.#news
    this.#news = new Map()
    if (news.size === 0) return
    const batch = this.#host.batch()
    for (const [address, isHere] of news) {
      const jid = parseJid(address)
      batch.add(store.putting(jid.bare.toString(), jid.resource, isHere ? true : undefined))
    }
    await batch.commit().catch((error: unknown) => { this.#host.trouble(error) })
  }

  /** Those that were here at last. */
  async * all (): AsyncGenerator<Jid> {
    const { store, domain } = this.#host
    for (let after: string | undefined; ;) {
      const owners = await store.owners({ limit: PAGE, ...after === undefined ? {} : { after } })
      for (const owner of owners) {
        const account = parseJid(owner)
        if (account.domain !== domain) continue
        for (const resource of (await store.all(owner)).keys()) yield jidOf(account.local, account.domain, resource)
      }
      after = owners.at(-1)
      if (owners.length < PAGE || after === undefined) return
    }
  }
}
