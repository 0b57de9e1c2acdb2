/** The router: says which destination a stanza has. A local host, or another server. */
import { StanzaError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import type { Addressed } from '../xmpp/stanza.js'
import type { BroadcastTaker } from './broadcast.js'
import type { LinkReport } from './link-report.js'
import type { Onward, Outcome } from './pipeline/passage.js'
import type { Element } from '../xml/element.js'
import type { Session } from './session.js'

/** The place that stanzas for a domain are delivered to. It may take broadcasts. */
export interface Destination extends Onward, Partial<BroadcastTaker> {
  /** Called with each error reply made for a stanza of this domain. */
  bounced (stanza: Addressed, error: StanzaError): void
  /** Returns what the error reply to a stanza for this domain holds besides the error; absent if that is nothing. */
  returned? (stanza: Addressed): Element | undefined
  /** False for a host with accounts, true for a service; absent for other servers. */
  readonly isService?: boolean
  /** Returns the session with this full address, if there is one; absent if there are no sessions. */
  sessionAt? (address: Jid): Session | undefined
  /** Returns the room for stanzas between two domains; absent if nothing waits there. */
  room? (from: string, to: string): Room
}

/** The room that a destination has now: a long answer goes on while there is room. */
export interface Room {
  /** True if nothing arrives there for now. */
  readonly isGone: boolean
  readonly hasRoom: boolean
  /** Runs `then` once there may be room again, unless the way changes before. */
  drained (then: () => void): void
}

/** The destination for other domains until federation starts: remote-server-not-found (RFC 6120 §8.3.3.15). */
const nowhere: Destination = {
  place: 'other servers',
  accept () { throw new StanzaError('remote-server-not-found') },
  bounced () {},
}

/** A destination, and the outcome that sends a stanza to it. */
interface Way { readonly destination: Destination, readonly outcome: Outcome }

export class Router {
  readonly #ways = new Map<string, Way>()
  #remote = wayTo(nowhere)

  add (domain: string, destination: Destination): void { this.#ways.set(domain, wayTo(destination)) }
  remove (domain: string): void { this.#ways.delete(domain) }
  /** True if stanzas to this domain stay on this server. */
  serves (domain: string): boolean { return this.#ways.has(domain) }
  /** Returns the destination for a domain that is served here. */
  local (domain: string): Destination | undefined { return this.#ways.get(domain)?.destination }

  /** The destination of stanzas for domains that are not served here. */
  /** Returns the connections to other servers; there are none until federation starts. */
  connections: () => readonly LinkReport[] = () => []

  get remote (): Destination { return this.#remote.destination }
  set remote (destination: Destination) { this.#remote = wayTo(destination) }

  /** Returns the outcome that sends a stanza for this domain to its destination. */
  way (domain: string): Outcome { return this.#way(domain).outcome }

  /** Returns the room for stanzas from one domain to another; undefined if there is always room. */
  room (from: string, to: string): Room | undefined { return this.#way(to).destination.room?.(from, to) }

  /** Returns the session of this server with this full address, if there is one. */
  sessionAt (address: Jid): Session | undefined { return this.local(address.domain)?.sessionAt?.(address) }

  /** Returns the destination of broadcasts to a domain; undefined if each recipient is sent a stanza of its own. */
  takerOf (domain: string): BroadcastTaker | undefined {
    const { destination } = this.#way(domain)
    return takesBroadcasts(destination) ? destination : undefined
  }

  #way (domain: string): Way { return this.#ways.get(domain) ?? this.#remote }
}

function takesBroadcasts (destination: Destination): destination is Destination & BroadcastTaker {
  return destination.broadcast !== undefined
}

function wayTo (destination: Destination): Way {
  return { destination, outcome: { go: 'to', where: destination } }
}
