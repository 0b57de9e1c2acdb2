/** SASL (RFC 4422) as the server sees it: which mechanisms a stream may use, and each as a dialogue. */
import type { Ids } from '../base/ids.js'
import type { Jid } from '../xmpp/jid.js'
import type { Accounts } from './accounts.js'
import type { ChannelBinding } from './binding.js'
import { certifiedAccounts, external } from './external.js'
import { SaslFault, type SaslCondition } from './fault.js'
import { Overloaded } from './keys.js'
import { plain } from './plain.js'
import { HASH_OF, scram } from './scram.js'

export type { SaslCondition } from './fault.js'

/** What a mechanism may know of the stream. */
export interface MechanismContext {
  readonly accounts: Accounts
  readonly ids: Ids
  /** Inside TLS, or a connection that may do without. */
  readonly secure: boolean
  /** What this connection can be bound to: `channelBindings` makes them. Empty outside TLS. */
  readonly bindings: readonly ChannelBinding[]
  /** The client's certificate as DER, only where TLS has verified it up to an authority of the conf. */
  readonly certificate: Uint8Array | undefined
  /** The names that the conf allows. */
  readonly allowed: readonly string[]
  /** Called as soon as the name is known, and before anything is looked up: slows those down who guess. */
  readonly admit?: (account: Jid) => void | Promise<void>
  /** Called with what has gone wrong beside a login that succeeds all the same. */
  readonly trouble?: (error: unknown) => void
}

/** What the client was shown: the mechanisms of the profile in use (SASL or SASL2), and XEP-0440's types where they were sent. */
export interface Advertised {
  readonly mechanisms: readonly string[]
  readonly bindings: readonly string[] | undefined
}

export interface SaslFailure {
  readonly kind: 'failure'
  readonly condition: SaslCondition
  /** May be told to the client: it says nothing about who has an account. */
  readonly reason: string
  /** The local part that was tried, once it is known: for logs, and for the throttle. */
  readonly who?: string
  /** The defect, or the trouble of storage, behind a temporary-auth-failure. */
  readonly error?: unknown
}

export type SaslStep =
  | { readonly kind: 'challenge', readonly data: Uint8Array }
  | { readonly kind: 'success', readonly account: Jid, readonly data?: Uint8Array }
  | SaslFailure

/** One login attempt. */
export interface SaslDialogue {
  readonly mechanism: string
  /** What the client sent; undefined where `<auth/>` held no initial response. Never rejects. No step may follow a success or a failure. */
  step (message: Uint8Array | undefined): Promise<SaslStep>
}

/** What a mechanism is made of: its steps. A SaslFault it throws is the failure. */
export type Exchange = (message: Uint8Array) => Promise<SaslStep>

/** All that there are, the strongest first. */
export const MECHANISMS = [
  'SCRAM-SHA-512-PLUS', 'SCRAM-SHA-256-PLUS', 'SCRAM-SHA-1-PLUS', 'SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'EXTERNAL', 'PLAIN',
] as const
export type MechanismName = typeof MECHANISMS[number]

/**
 * The names that this stream may be offered, the strongest first. Those of a hash that some account here lacks are left out: clients take
 * the strongest, and the account would never get in. Where no way to prove a password would be left, all stay: some accounts get in.
 */
export function offered (context: MechanismContext): readonly MechanismName[] {
  const possible = MECHANISMS.filter(name => context.allowed.includes(name) && isPossible(name, context))
  const { lacking } = context.accounts
  if (lacking.size === 0) return possible
  const usable = possible.filter(name => !isScram(name) || !lacking.has(HASH_OF[name]))
  return usable.some(name => name === 'PLAIN' || isScram(name)) ? usable : possible
}

function isScram (name: MechanismName): name is keyof typeof HASH_OF { return name.startsWith('SCRAM-') }

/** Begins an attempt. A mechanism that was not advertised fails with invalid-mechanism. */
export function start (name: string, context: MechanismContext, advertised: Advertised): SaslDialogue {
  const mechanism = MECHANISMS.find(known => known === name && advertised.mechanisms.includes(known))
  return new Dialogue(name, mechanism === undefined ? refuse : exchangeOf(mechanism, context, advertised))
}

/** An attempt that is made of these steps. */
export function dialogueOf (name: string, exchange: Exchange): SaslDialogue {
  return new Dialogue(name, exchange)
}

function isPossible (name: MechanismName, context: MechanismContext): boolean {
  if (name.endsWith('-PLUS')) return context.bindings.length > 0
  // RFC 6120 §13.8.3: PLAIN only where the stream is encrypted.
  if (name === 'PLAIN') return context.secure
  // RFC 6120 §6.3.4: only with a certificate that names someone here.
  if (name === 'EXTERNAL') return context.certificate !== undefined && certifiedAccounts(context.certificate, context.accounts).length > 0
  return true
}

function exchangeOf (name: MechanismName, context: MechanismContext, advertised: Advertised): Exchange {
  if (name === 'PLAIN') return plain(context)
  if (name === 'EXTERNAL') return external(context)
  return scram(name, context, advertised)
}

const refuse: Exchange = () => Promise.reject(new SaslFault('invalid-mechanism', 'this mechanism is not offered'))
const NOTHING = new Uint8Array(0)

class Dialogue implements SaslDialogue {
  readonly mechanism: string
  readonly #exchange: Exchange
  #state: 'new' | 'open' | 'over' = 'new'

  constructor (mechanism: string, exchange: Exchange) {
    this.mechanism = mechanism
    this.#exchange = exchange
  }

  async step (message: Uint8Array | undefined): Promise<SaslStep> {
    if (this.#state === 'over') return failed(new SaslFault('malformed-request', 'this attempt is over'))
    // RFC 4422 §3.3: every mechanism here has the client speak first; without an initial response it is asked to, by an empty challenge.
    if (message === undefined && this.#state === 'new' && this.#exchange !== refuse) {
      this.#state = 'open'
      return { kind: 'challenge', data: NOTHING }
    }
    this.#state = 'over' // also while it is worked on: what the client says before it was asked is out of order
    const step = await this.#exchange(message ?? NOTHING).catch(failed)
    if (step.kind === 'challenge') this.#state = 'open'
    return step
  }
}

function failed (error: unknown): SaslFailure {
  if (error instanceof SaslFault) {
    const { condition, message: reason, who } = error
    return who === undefined ? { kind: 'failure', condition, reason } : { kind: 'failure', condition, reason, who }
  }
  if (error instanceof Overloaded) return { kind: 'failure', condition: 'temporary-auth-failure', reason: 'too many are logging in' }
  return { kind: 'failure', condition: 'temporary-auth-failure', reason: 'something is wrong with the server', error }
}
