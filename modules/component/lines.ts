/** The connections of one component. Each sender's stanzas take one of them, so they keep their order. */
import type { ComponentLine, Jid, StreamError } from '../../lib/api.js'

export class Lines {
  readonly #lines = new Map<ComponentLine, number>()
  #made = 0

  get size (): number { return this.#lines.size }

  /** Adds a connection. Returns a function that removes it. */
  add (line: ComponentLine): () => void {
    this.#lines.set(line, this.#made++)
    return () => { this.#lines.delete(line) }
  }

  /**
   * Returns the connection for a sender; undefined if there is none. If a connection comes or goes, only the senders
   * that it has, or will have, move (rendezvous hashing).
   */
  for (sender: Jid): ComponentLine | undefined {
    if (this.#lines.size <= 1) return this.#lines.keys().next().value
    const name = sender.bare.toString()
    let best: ComponentLine | undefined
    let most = -1
    for (const [line, number] of this.#lines) {
      const weight = hashOf(`${number} ${name}`)
      if (weight > most) [best, most] = [line, weight]
    }
    return best
  }

  /** Ends all connections. */
  end (error: StreamError): void { for (const line of [...this.#lines.keys()]) line.end(error) }
}

/** FNV-1a of 32 bits with a final mix: spreads names evenly, and protects nothing. */
function hashOf (text: string): number {
  let hash = 0x811C9DC5
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  hash = Math.imul(hash ^ hash >>> 16, 0x45D9F3B)
  return (hash ^ hash >>> 16) >>> 0
}
