/**
 * HT-SHA-256-* (draft-schmaus-kitten-sasl-ht) for FAST (XEP-0484): proves a token in one message, bound to the channel.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Jid } from '../xmpp/jid.js'
import { strictText } from './base64.js'
import { type Token, type TokenMechanism, TOKEN_MECHANISMS } from './token.js'
import type { ChannelBindingType } from './channel-binding.js'
import { SaslFault } from './fault.js'
import { accountNamed, admitted } from './identity.js'
import { dialogueOf } from './mechanisms.js'
import type { Exchange, MechanismContext, SaslDialogue } from './mechanism.js'

const BINDING_OF: Readonly<Record<TokenMechanism, ChannelBindingType | undefined>> = {
  'HT-SHA-256-EXPR': 'tls-exporter',
  'HT-SHA-256-ENDP': 'tls-server-end-point',
  'HT-SHA-256-NONE': undefined,
}

/** The mechanisms that this connection supports, the strongest first. XEP-0484 §6: only in TLS. */
export function tokenMechanisms (
  { secure, bindings }: Pick<MechanismContext, 'secure' | 'bindings'>,
): readonly TokenMechanism[] {
  if (!secure) return []
  return TOKEN_MECHANISMS.filter(name => {
    const type = BINDING_OF[name]
    return type === undefined || bindings.some(binding => binding.type === type)
  })
}

export interface TokenLogin {
  readonly dialogue: SaslDialogue
  /** The token that was proved, after the dialogue has succeeded. */
  used (): Token | undefined
}

/** The context of a login by token: it adds the tokens of the client. */
export interface TokenContext extends MechanismContext {
  readonly now: number
  tokensOf (account: Jid): Promise<readonly Token[]>
}

/** Begins a login by one of the client's tokens. */
export function tokenLogin (name: TokenMechanism, context: TokenContext): TokenLogin {
  let used: Token | undefined
  const exchange: Exchange = async message => {
    const { name: user, proof } = parse(message)
    const binding = bindingFor(name, context)
    const account = accountNamed(user, context.accounts)
    await context.admit?.(account)
    const token = proved(await context.tokensOf(account), name, proof, binding)
    if (token === undefined) throw new SaslFault('not-authorized', 'wrong token', account.local)
    // XEP-0484 §4.2: a known token that has expired. Only a client that has it learns this.
    if (context.now >= token.expires) throw new SaslFault('credentials-expired', 'the token has expired', account.local)
    const admittedAccount = await admitted(account, context.accounts)
    used = token
    return { kind: 'success', account: admittedAccount, data: hashed(token.secret, 'Responder', binding) }
  }
  return { dialogue: dialogueOf(name, exchange), used: () => used }
}

/**
 * The most tokens of a client. A client with fewer, or none, is checked against as many, so that the time tells
 * nothing.
 */
const TOKENS = 2
const NOBODYS = randomBytes(32).toString('base64url')

/**
 * Returns the token that the proof belongs to. XEP-0484 §3.4: only with the mechanism it was issued for. Takes constant
 * time.
 */
function proved (
  tokens: readonly Token[], name: TokenMechanism, proof: Uint8Array, binding: Uint8Array,
): Token | undefined {
  let found: Token | undefined
  for (let place = 0; place < TOKENS; place++) {
    const token = tokens[place]
    const isRight = timingSafeEqual(hashed(token?.secret ?? NOBODYS, 'Initiator', binding), proof)
    if (isRight && token?.mechanism === name) found ??= token
  }
  return found
}

function hashed (secret: string, who: 'Initiator' | 'Responder', binding: Uint8Array): Buffer {
  return createHmac('sha256', secret).update(who).update(binding).digest()
}

function bindingFor (name: TokenMechanism, { bindings }: MechanismContext): Uint8Array {
  const type = BINDING_OF[name]
  if (type === undefined) return new Uint8Array(0)
  const binding = bindings.find(binding => binding.type === type)
  if (binding === undefined) {
    throw new SaslFault('invalid-mechanism', 'this connection does not support the channel binding of the mechanism')
  }
  return binding.bytes()
}

const PROOF_SIZE = 32
const MOST_BYTES = 1024 + PROOF_SIZE + 1

/** Reads the user name, a NUL, and the hashed token. */
function parse (message: Uint8Array): { readonly name: string, readonly proof: Uint8Array } {
  const end = message.indexOf(0)
  const name = end > 0 && message.length <= MOST_BYTES ? strictText(message.subarray(0, end)) : undefined
  const proof = message.subarray(end + 1)
  if (name === undefined || proof.length !== PROOF_SIZE) {
    throw new SaslFault('malformed-request', 'malformed hashed token message')
  }
  return { name, proof }
}
