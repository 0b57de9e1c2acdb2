/**
 * Logins in progress. When the access to an account ends, they end too: else a login that began earlier would succeed
 * afterwards.
 */
import type { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'

/** One login: begins before its credentials are checked, and ends when its stream has a session. */
export interface LoginUnderWay {
  /** The bare address. */
  readonly account: Jid
  /** The client that the login names, as `keyOf` returns it; '' if it names none. */
  readonly device: string
  /** Ends the stream of the login. */
  end (reason: StreamError): void
}

/** The logins in progress at one host. Each connection has at most one: that is their bound. */
export class Logins {
  readonly #underWay = new Map<string, Set<LoginUnderWay>>()

  /** Adds a login, and returns a function that removes it. */
  begins (login: LoginUnderWay): () => void {
    const name = login.account.toString()
    const others = this.#underWay.get(name)
    if (others === undefined) this.#underWay.set(name, new Set([login]))
    else others.add(login)
    return () => {
      const all = this.#underWay.get(name)
      all?.delete(login)
      if (all?.size === 0) this.#underWay.delete(name)
    }
  }

  /** Ends the logins of an account, or of one of its devices. */
  end (account: Jid, reason: StreamError, device?: string): void {
    for (const login of [...this.#underWay.get(account.bare.toString()) ?? []]) {
      if (device === undefined || login.device === device) login.end(reason)
    }
  }
}
