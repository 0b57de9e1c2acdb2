/** HT-SHA-256-* (draft-schmaus-kitten-sasl-ht), for FAST (XEP-0484): a token is proved in one message, bound to the channel. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Jid } from '../xmpp/jid.js'
import { strictText } from './base64.js'
import type { Token } from './clients.js'
import type { ChannelBindingType } from './binding.js'
import { SaslFault } from './fault.js'
import { accountNamed, admitted } from './identity.js'
import { dialogueOf, type Exchange, type MechanismContext, type SaslDialogue } from './mechanisms.js'

export const TOKEN_MECHANISMS = ['HT-SHA-256-EXPR', 'HT-SHA-256-ENDP', 'HT-SHA-256-NONE'] as const
export type TokenMechanism = typeof TOKEN_MECHANISMS[number]

const BINDING_OF: Readonly<Record<TokenMechanism, ChannelBindingType | undefined>> = {
  'HT-SHA-256-EXPR': 'tls-exporter',
  'HT-SHA-256-ENDP': 'tls-server-end-point',
  'HT-SHA-256-NONE': undefined,
}

/** Those that this connection can be used with, the strongest first. XEP-0484 §6: inside TLS alone. */
export function tokenMechanisms ({ secure, bindings }: Pick<MechanismContext, 'secure' | 'bindings'>): readonly TokenMechanism[] {
  if (!secure) return []
  return TOKEN_MECHANISMS.filter(name => {
    const type = BINDING_OF[name]
    return type === undefined || bindings.some(binding => binding.type === type)
  })
}

export interface TokenLogin {
  readonly dialogue: SaslDialogue
  /** The token that was proved, once the dialogue has succeeded. */
  used (): Token | undefined
}

/** What a login by token needs beside the rest: the tokens that the client of this login has. */
export interface TokenContext extends MechanismContext {
  readonly now: number
  tokensOf (account: Jid): Promise<readonly Token[]>
}

/** A login by one of the account's tokens. */
export function tokenLogin (name: TokenMechanism, context: TokenContext): TokenLogin {
  let used: Token | undefined
  const exchange: Exchange = async message => {
    const { name: user, proof } = parse(message)
    const binding = bindingFor(name, context)
    const account = accountNamed(user, context.accounts)
    await context.admit?.(account)
    const token = proved(await context.tokensOf(account), name, proof, binding)
    if (token === undefined) throw new SaslFault('not-authorized', 'wrong token', account.local)
    // XEP-0484 §4.2: known, and no longer trusted. Told only to who has it.
    if (context.now >= token.expires) throw new SaslFault('credentials-expired', 'the token has expired', account.local)
    const admittedAccount = await admitted(account, context.accounts)
    used = token
    return { kind: 'success', account: admittedAccount, data: hashed(token.secret, 'Responder', binding) }
  }
  return { dialogue: dialogueOf(name, exchange), used: () => used }
}

/** A client has at most so many tokens; whoever has fewer, or none at all, is checked against as many. */
const TOKENS = 2
const NOBODYS = randomBytes(32).toString('base64url')

/** XEP-0484 §3.4: with the mechanism that the token was made for, and no other. Constant in time, whoever asks. */
function proved (tokens: readonly Token[], name: TokenMechanism, proof: Uint8Array, binding: Uint8Array): Token | undefined {
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
  if (binding === undefined) throw new SaslFault('invalid-mechanism', 'this connection cannot be bound so')
  return binding.bytes()
}

const PROOF_SIZE = 32
const MOST_BYTES = 1024 + PROOF_SIZE + 1

/** The user name, a NUL, and the hashed token. */
function parse (message: Uint8Array): { readonly name: string, readonly proof: Uint8Array } {
  const end = message.indexOf(0)
  const name = end > 0 && message.length <= MOST_BYTES ? strictText(message.subarray(0, end)) : undefined
  const proof = message.subarray(end + 1)
  if (name === undefined || proof.length !== PROOF_SIZE) throw new SaslFault('malformed-request', 'not a message of a hashed token')
  return { name, proof }
}
