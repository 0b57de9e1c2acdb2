/** FAST (XEP-0484): logins by a token, and the tokens that clients are given. */
import { type Agent, type Clients, keyOf, type Token } from '../auth/clients.js'
import { tokenLogin, tokenMechanisms, type TokenContext, type TokenLogin, type TokenMechanism } from '../auth/hashed-token.js'
import type { MechanismContext, SaslFailure } from '../auth/mechanisms.js'
import { xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { formatDateTime } from '../xmpp/datetime.js'
import type { Jid } from '../xmpp/jid.js'
import type { Authenticate } from './authenticate.js'
import type { Authentication } from './settings.js'

export type TokenAttempt = TokenLogin

/** §3.1 */
export function fastElement (mechanisms: readonly TokenMechanism[]): Element {
  return xml('fast', { xmlns: NS.FAST }, ...mechanisms.map(name => xml('mechanism', {}, name)))
}

/** §3.3 */
export function tokenElement ({ secret, expires }: Token): Element {
  return xml('token', { xmlns: NS.FAST, token: secret, expiry: formatDateTime(expires) })
}

/** An attempt by one of the mechanisms that were offered; undefined where it is none, or the client does not say which it is (§4.1). */
export function attemptByToken (
  asked: Authenticate, context: MechanismContext & { readonly now: number }, clients: Clients,
): TokenAttempt | undefined {
  const name = tokenMechanisms(context).find(offered => offered === asked.mechanism)
  const { id } = asked.userAgent
  if (name === undefined || id === undefined) return undefined
  const tokens: TokenContext = { ...context, tokensOf: account => clients.tokens(account, id) }
  return tokenLogin(name, tokens)
}

export interface VisitGround {
  readonly clients: Clients
  authentication (): Authentication
  recognised (key: string): void
  trouble (error: unknown): void
}

/**
 * Takes note of a client that has logged in, and makes the token it is to be given. A failure: the token that it came with was taken away
 * meanwhile, or could not be given up, which the client relies on; other trouble is told, and that is all.
 */
export async function visit (
  asked: Authenticate, account: Jid, attempt: TokenAttempt | undefined, ground: VisitGround,
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
    return token === 'gone' ? { kind: 'failure', condition: 'not-authorized', reason: 'the token was taken away', who: account.local } : token
  } catch (error) {
    ground.trouble(error)
    return used !== undefined && asked.invalidate ? UNSTORED : undefined
  }
}

const UNSTORED: SaslFailure = { kind: 'failure', condition: 'temporary-auth-failure', reason: 'nothing can be stored' }

function methodOf (mechanism: string): 'password' | 'token' | 'certificate' {
  if (mechanism.startsWith('HT-')) return 'token'
  return mechanism === 'EXTERNAL' ? 'certificate' : 'password'
}
