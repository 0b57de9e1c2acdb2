/** Stream management as a usual client has it (XEP-0198): it answers when it is asked, and asks now and then itself. */
import type { Client } from '../client.js'

/** After so many stanzas it asks how far the server has come. */
const EVERY = 10
const REQUEST = "<r xmlns='urn:xmpp:sm:3'/>"

/** The counters of one client. */
export class Acks {
  readonly #client: Client
  readonly #asked = new Asked()
  #received = 0
  #sent = 0

  constructor (client: Client) {
    this.#client = client
  }

  /** So many stanzas came in this chunk. */
  received (stanzas: number, chunk: Buffer): void {
    this.#received += stanzas
    if (this.#asked.hears(chunk)) this.#client.send(`<a xmlns='urn:xmpp:sm:3' h='${this.#received}'/>`)
  }

  sent (stanzas: number): void {
    this.#sent += stanzas
    if (this.#sent < EVERY) return
    this.#sent = 0
    this.#client.send(REQUEST)
  }
}

/** Looks for a request of the server's, also where it falls into two chunks. */
export class Asked {
  #tail = ''

  hears (chunk: Buffer): boolean {
    const isAcross = (this.#tail + chunk.toString('latin1', 0, 2)).includes(MARK)
    this.#tail = chunk.length >= 2 ? chunk.toString('latin1', chunk.length - 2) : (this.#tail + chunk.toString('latin1')).slice(-2)
    return isAcross || chunk.includes(MARK)
  }
}

/** How all the servers begin it, and nothing else in these scenes begins so. */
const MARK = '<r '
