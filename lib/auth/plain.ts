/** PLAIN (RFC 4616), checked against the SCRAM keys. */
import { strictText } from './base64.js'
import { SaslFault } from './fault.js'
import { accountNamed, admitted, checkAuthorization } from './identity.js'
import { PasswordError, preparePassword } from './keys.js'
import type { Exchange, MechanismContext } from './mechanism.js'
import { PrepError } from '../xmpp/prep.js'

/** The most bytes in a message. RFC 4616 §2 expects names of up to 255 octets; the password has its own bound. */
const MOST = 4096

export function plain (context: MechanismContext): Exchange {
  const { accounts } = context
  return async message => {
    if (!context.secure) throw new SaslFault('encryption-required', 'PLAIN needs TLS')
    const [identity, name, password] = parse(message)
    const account = accountNamed(name, accounts)
    checkAuthorization(identity, account)
    await context.admit?.(account)
    const secret = prepared(password, account.local)
    const right = await accounts.verifyPassword(account.local, secret)
    if (!right) throw new SaslFault('not-authorized', 'wrong user name or password', account.local)
    const admittedAccount = await admitted(account, accounts)
    // An account that was imported with the keys of one hash gets those of the others. An error here does not fail the
    // login.
    await accounts.complete(account, secret).catch((error: unknown) => { context.trouble?.(error) })
    return { kind: 'success', account: admittedAccount }
  }
}

function parse (message: Uint8Array): readonly [string, string, string] {
  const text = message.length > MOST ? undefined : strictText(message)
  const [identity, name, password, more] = text?.split('\0', 4) ?? []
  if (identity === undefined || !name || !password || more !== undefined) {
    throw new SaslFault('malformed-request', 'malformed PLAIN message')
  }
  return [identity, name, password]
}

/** Prepares a password. One that cannot be set counts as a wrong password. */
function prepared (password: string, who: string): string {
  try {
    return preparePassword(password)
  } catch (error) {
    if (!(error instanceof PasswordError || error instanceof PrepError)) throw error
    throw new SaslFault('not-authorized', 'wrong user name or password', who)
  }
}
