/** PLAIN (RFC 4616), checked against the keys of SCRAM. */
import { strictText } from './base64.js'
import { SaslFault } from './fault.js'
import { accountNamed, admitted, checkAuthorization } from './identity.js'
import { PasswordError, preparePassword } from './keys.js'
import type { Exchange, MechanismContext } from './mechanisms.js'
import { PrepError } from '../xmpp/prep.js'

/** RFC 4616 §2: up to 255 octets of each name are enough for anyone; the password has its own bound. */
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
    // An account that was imported with keys of one hash gets those of the others. Whoever has proved the password is let in in any case.
    await accounts.complete(account, secret).catch((error: unknown) => { context.trouble?.(error) })
    return { kind: 'success', account: admittedAccount }
  }
}

function parse (message: Uint8Array): readonly [string, string, string] {
  const text = message.length > MOST ? undefined : strictText(message)
  const [identity, name, password, more] = text?.split('\0', 4) ?? []
  if (identity === undefined || !name || !password || more !== undefined) throw new SaslFault('malformed-request', 'not a message of PLAIN')
  return [identity, name, password]
}

/** A password that nobody can have set is a wrong one. */
function prepared (password: string, who: string): string {
  try {
    return preparePassword(password)
  } catch (error) {
    if (!(error instanceof PasswordError || error instanceof PrepError)) throw error
    throw new SaslFault('not-authorized', 'wrong user name or password', who)
  }
}
