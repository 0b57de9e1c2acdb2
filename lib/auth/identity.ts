/** Whom a client says it is (RFC 4422 §2): the name it proves, and the one it wants to act as. */
import { JidError, parseJid, type Jid } from '../xmpp/jid.js'
import { PrepError } from '../xmpp/prep.js'
import type { Accounts } from './accounts.js'
import { SaslFault } from './fault.js'

/** The account of a user name, prepared as a local part: `Romeo` is `romeo`. Throws SaslFault. */
export function accountNamed (name: string, accounts: Accounts): Jid {
  const account = prepared(() => accounts.address(name))
  // Told as a wrong password is: what cannot be a name has no account.
  if (account === undefined || account.local === '') throw new SaslFault('not-authorized', 'wrong user name or password')
  return account
}

/** RFC 6120 §6.3.8: an authorization identity must be the bare address of the account itself. Nobody acts for another here. */
export function checkAuthorization (identity: string, account: Jid): void {
  if (identity === '') return
  if (!(addressOf(identity)?.equals(account) ?? false)) throw new SaslFault('invalid-authzid', 'only your own bare address', account.local)
}

/** The address, prepared; undefined where it is none. */
export function addressOf (text: string): Jid | undefined {
  return prepared(() => parseJid(text))
}

/** Nobody is let in before this: a lock that only the owner hears of, and an account that went away meanwhile. Throws SaslFault. */
export async function admitted (account: Jid, accounts: Accounts): Promise<Jid> {
  const state = await accounts.state(account)
  if (state === 'missing') throw new SaslFault('not-authorized', 'wrong user name or password', account.local)
  if (state === 'locked') throw new SaslFault('account-disabled', 'this account is locked', account.local)
  return account
}

function prepared (make: () => Jid): Jid | undefined {
  try {
    return make()
  } catch (error) {
    if (error instanceof JidError || error instanceof PrepError) return undefined
    throw error
  }
}
