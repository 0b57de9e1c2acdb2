/** The identities in a login (RFC 4422 §2): the account that is proved, and the one that the client wants to act as. */
import { JidError, parseJid, type Jid } from '../xmpp/jid.js'
import { PrepError } from '../xmpp/prep.js'
import type { Accounts } from './accounts.js'
import { SaslFault } from './fault.js'

/** Returns the account of a user name, prepared as a local part: `Romeo` becomes `romeo`. Throws SaslFault. */
export function accountNamed (name: string, accounts: Accounts): Jid {
  const account = prepared(() => accounts.address(name))
  // Answered like a wrong password: a text that is not a valid name has no account.
  if (account === undefined || account.local === '') {
    throw new SaslFault('not-authorized', 'wrong user name or password')
  }
  return account
}

/**
 * RFC 6120 §6.3.8: an authorization identity must be the account's own bare address. Nobody may act for another
 * account.
 */
export function checkAuthorization (identity: string, account: Jid): void {
  if (identity === '') return
  if (addressOf(identity)?.equals(account) === true) return
  throw new SaslFault('invalid-authzid', 'the authorization identity must be your own bare address', account.local)
}

/** Returns the address, prepared; undefined if it is not valid. */
export function addressOf (text: string): Jid | undefined {
  return prepared(() => parseJid(text))
}

/**
 * Checks that an account may log in: it is not locked, and was not removed meanwhile. Call it after the proof, so that
 * only the owner learns of a lock. Throws SaslFault.
 */
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
