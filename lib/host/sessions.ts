/** The sessions of a host: by full address and by account. */
import type { Jid } from '../xmpp/jid.js'
import type { Presence } from '../xmpp/stanza.js'
import type { Session } from './session.js'

const NOBODY: readonly Session[] = []

/** The callbacks of the registry to its host. */
export interface SessionsHeard {
  present (session: Session, before: { readonly available: boolean, readonly priority: number }): void
  available (session: Session, first: boolean): void
  unavailable (session: Session, last: boolean): void
}

export class Sessions {
  readonly #byAccount = new Map<string, readonly Session[]>()
  readonly #byAddress = new Map<string, Session>()
  readonly #heard: SessionsHeard

  constructor (heard: SessionsHeard) { this.#heard = heard }

  /**
   * The sessions of an account, the oldest first. The list never changes: it can be iterated while sessions come and
   * go.
   */
  of (account: Jid): readonly Session[] {
    return this.#byAccount.get(account.toString()) ?? NOBODY
  }

  at (full: Jid): Session | undefined {
    return this.#byAddress.get(full.toString())
  }

  /** All sessions, in no order. */
  all (): Iterable<Session> { return this.#byAddress.values() }
  get count (): number { return this.#byAddress.size }
  /** The number of accounts with a session. */
  get accounts (): number { return this.#byAccount.size }

  add (session: Session): void {
    const key = session.account.toString()
    this.#byAddress.set(session.jid.toString(), session)
    this.#byAccount.set(key, [...this.#byAccount.get(key) ?? NOBODY, session])
  }

  remove (session: Session): void {
    const address = session.jid.toString()
    // A session that has replaced this one at the address stays.
    if (this.#byAddress.get(address) === session) this.#byAddress.delete(address)
    const key = session.account.toString()
    const left = (this.#byAccount.get(key) ?? NOBODY).filter(other => other !== session)
    if (left.length > 0) this.#byAccount.set(key, left)
    else this.#byAccount.delete(key)
  }

  /**
   * Sets a session's own presence (RFC 6121 §4.2, §4.4, §4.5); undefined means unavailable. For the presence module.
   */
  present (session: Session, presence: Presence | undefined, priority = 0): void {
    const before = { available: session.available, priority: session.priority }
    session.setPresence(presence?.detached(), presence === undefined ? 0 : priority)
    const others = this.of(session.account).some(other => other !== session && other.available)
    if (presence === undefined) {
      if (before.available) this.#heard.unavailable(session, !others)
      return
    }
    if (!before.available) this.#heard.available(session, !others)
    this.#heard.present(session, before)
  }
}
