/** Logins under way: what ends the access to an account ends them too, or who began before would come in behind it. */
import type { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'

/** One login, from before what proves it is looked at until its stream has a session. */
export interface LoginUnderWay {
  /** Bare. */
  readonly account: Jid
  /** The client it says it is, as `keyOf` names it; '' where it does not say. */
  readonly device: string
  /** Ends its stream. */
  end (reason: StreamError): void
}

/** Those of one host: each connection has one at most, which is their bound. */
export class Logins {
  readonly #underWay = new Map<string, Set<LoginUnderWay>>()

  /** Takes note of one; returns what forgets it. */
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

  /** Ends those of an account, or those of one of its devices. */
  end (account: Jid, reason: StreamError, device?: string): void {
    for (const login of [...this.#underWay.get(account.bare.toString()) ?? []]) {
      if (device === undefined || login.device === device) login.end(reason)
    }
  }
}
