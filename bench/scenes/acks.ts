/** Stream management of a typical client (XEP-0198): it answers requests, and sends a request now and then. */
import type { Client } from '../client.js'

/** The number of sent stanzas between two requests. */
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

  /** Counts the stanzas of a chunk, and answers if the chunk holds a request. */
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

/** Finds the server's requests, even if one is split into two chunks. */
export class Asked {
  #tail = ''

  hears (chunk: Buffer): boolean {
    const isAcross = (this.#tail + chunk.toString('latin1', 0, 2)).includes(MARK)
    this.#tail = chunk.length >= 2 ? chunk.toString('latin1', chunk.length - 2) : (this.#tail + chunk.toString('latin1')).slice(-2)
    return isAcross || chunk.includes(MARK)
  }
}

/** The beginning of a request, as all the servers write it. Nothing else in these scenes begins like this. */
const MARK = '<r '
