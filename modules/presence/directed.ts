/** Directed presence (RFC 6121 §4.6): the recipients of each session, who are told when it ends. */
import { parseJid, slot, StanzaError } from '../../lib/api.js'
import type { Addressed, Jid, Session } from '../../lib/api.js'
import type { StoredPresence } from './stored-presence.js'
import { DirectedRecipients } from './directed-recipients.js'

/** The average size of an address that receives directed presence, and the longest (RFC 7622 §3.1), in bytes. */
const ADDRESS = 128
const LONGEST_ADDRESS = 3071

/** RFC 6121 §4.6: recipients of directed presence. They get unavailable presence when the session ends. */
const directed = slot('presence.directed', {
  initial: () => new DirectedRecipients(),
  codec: {
    write: told => [...told.keys()].join('\n'),
    read: text => DirectedRecipients.of(text === '' ? [] : text.split('\n')),
  },
})

/** The recipients of directed presence of all sessions of a host. Each change is stored. */
export class Directed {
  readonly #here: Pick<StoredPresence, 'changed'>
  readonly #most: number

  /** `most`: the most recipients of a session. */
  constructor (here: Pick<StoredPresence, 'changed'>, most: number) {
    this.#here = here
    this.#most = most
  }

  /** Returns a session's recipients. */
  of (session: Session): ReadonlyMap<string, Jid> { return session.get(directed) }

  /** Returns a session's recipients that have this bare address. */
  at (session: Session, bare: Jid): readonly Jid[] { return session.get(directed).at(bare) }

  /** Adds or removes the recipient of directed presence (§4.6.2). Throws StanzaError if there are too many. */
  note (session: Session, presence: Addressed<'presence'>): void {
    const told = session.get(directed)
    const key = presence.to.toString()
    const wasTold = told.has(key)
    if (presence.type === 'unavailable') told.delete(key)
    else if (wasTold || this.#hasRoom(told, key)) told.set(key, presence.to)
    else throw new StanzaError('resource-constraint', 'too many recipients of directed presence')
    if (told.has(key) !== wasTold) this.#here.changed(session.jid, key)
  }

  /** Adds a recipient that was stored before a restart. */
  restore (session: Session, address: string): void { session.get(directed).set(address, parseJid(address)) }

  /** Removes the recipients that match: they will not be told of the session's end. */
  forget (session: Session, whom: (to: Jid) => boolean): void {
    const told = session.get(directed)
    for (const [key, to] of told) if (whom(to) && told.delete(key)) this.#here.changed(session.jid, key)
  }

  /** Removes and returns all recipients. */
  take (session: Session): ReadonlyMap<string, Jid> {
    const told = session.get(directed)
    session.put(directed, new DirectedRecipients())
    for (const key of told.keys()) this.#here.changed(session.jid, key)
    return told
  }

  /** True if the session has sent directed presence to this address; its later presence can be probed (§4.6.4). */
  hasToldOf (session: Session, prober: Jid): boolean {
    const told = session.get(directed)
    return told.has(prober.toString()) || told.has(prober.bare.toString())
  }

  #hasRoom (told: DirectedRecipients, key: string): boolean {
    const bytes = told.bytes + Buffer.byteLength(key)
    return told.size < this.#most && bytes <= Math.max(this.#most * ADDRESS, LONGEST_ADDRESS)
  }
}
