/** FAST (XEP-0484): logins by token, and the tokens that are issued to clients. */
import { type Agent, type Clients, keyOf } from '../auth/clients.js'
import type { Token } from '../auth/token.js'
import { tokenLogin, tokenMechanisms, type TokenContext, type TokenLogin } from '../auth/hashed-token.js'
import type { TokenMechanism } from '../auth/token.js'
import type { MechanismContext, SaslFailure } from '../auth/mechanism.js'
import { xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { formatDateTime } from '../xmpp/datetime.js'
import type { Jid } from '../xmpp/jid.js'
import type { Authenticate } from './authenticate.js'
import type { Authentication } from './settings.js'

export type TokenAttempt = TokenLogin

/** Returns the element that announces the token mechanisms (§3.1). */
export function fastElement (mechanisms: readonly TokenMechanism[]): Element {
  return xml('fast', { xmlns: NS.FAST }, ...mechanisms.map(name => xml('mechanism', {}, name)))
}

/** Returns the element that issues a token (§3.3). */
export function tokenElement ({ secret, expires }: Token): Element {
  return xml('token', { xmlns: NS.FAST, token: secret, expiry: formatDateTime(expires) })
}

/**
 * Begins an attempt by token. Undefined if the mechanism is not an offered token mechanism, or the client sent no id
 * (§4.1).
 */
export function attemptByToken (
  asked: Authenticate, context: MechanismContext & { readonly now: number }, clients: Clients,
): TokenAttempt | undefined {
  const name = tokenMechanisms(context).find(offered => offered === asked.mechanism)
  const { id } = asked.userAgent
  if (name === undefined || id === undefined) return undefined
  const tokens: TokenContext = { ...context, tokensOf: account => clients.tokens(account, id) }
  return tokenLogin(name, tokens)
}

export interface LoginNoteDeps {
  readonly clients: Clients
  authentication (): Authentication
  recognised (key: string): void
  trouble (error: unknown): void
}

/**
 * Notes a client that has logged in, and makes the token to issue to it. Returns a failure if its token was revoked
 * meanwhile, or could not be invalidated although the client asked for that. Other errors are only logged.
 */
export async function visit (
  asked: Authenticate, account: Jid, attempt: TokenAttempt | undefined, ground: LoginNoteDeps,
): Promise<Token | SaslFailure | undefined> {
  const { id, software, device } = asked.userAgent
  if (id === undefined) return undefined
  ground.recognised(keyOf(id))
  const { token: lifetime } = ground.authentication()
  const agent: Agent = { id, software, device }
  const used = attempt?.used()
  try {
    const visit = { by: methodOf(asked.mechanism), used, invalidate: asked.invalidate, wants: asked.wants, lifetime }
    const token = await ground.clients.visited(account, agent, visit)
    if (token !== 'gone') return token
    return { kind: 'failure', condition: 'not-authorized', reason: 'the token was revoked', who: account.local }
  } catch (error) {
    ground.trouble(error)
    return used !== undefined && asked.invalidate ? UNSTORED : undefined
  }
}

const UNSTORED: SaslFailure = {
  kind: 'failure', condition: 'temporary-auth-failure', reason: 'the token cannot be invalidated now',
}

function methodOf (mechanism: string): 'password' | 'token' | 'certificate' {
  if (mechanism.startsWith('HT-')) return 'token'
  return mechanism === 'EXTERNAL' ? 'certificate' : 'password'
}
