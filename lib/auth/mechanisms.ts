/** SASL on the server (RFC 4422): the mechanisms that a stream may use, and the dialogue of each. */
import { StorageUnavailable } from '../storage/store.js'
import { certifiedAccounts, external } from './external.js'
import { SaslFault } from './fault.js'
import { Overloaded } from './keys.js'
import type { Advertised, Exchange, MechanismContext, SaslDialogue, SaslFailure, SaslStep } from './mechanism.js'
import { plain } from './plain.js'
import { HASH_OF, scram } from './scram.js'

/** All mechanisms, the strongest first. */
export const MECHANISMS = [
  'SCRAM-SHA-512-PLUS', 'SCRAM-SHA-256-PLUS', 'SCRAM-SHA-1-PLUS', 'SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1',
  'EXTERNAL', 'PLAIN',
] as const
export type MechanismName = typeof MECHANISMS[number]

/**
 * Returns the mechanisms to offer on this stream, the strongest first. Mechanisms of a hash that some account lacks are
 * left out, because clients choose the strongest and that account could not log in. If none would be left to prove a
 * password, all stay: some accounts can log in.
 */
export function offered (context: MechanismContext): readonly MechanismName[] {
  const possible = MECHANISMS.filter(name => context.allowed.includes(name) && isPossible(name, context))
  const { lacking } = context.accounts
  if (lacking.size === 0) return possible
  const usable = possible.filter(name => !isScram(name) || !lacking.has(HASH_OF[name]))
  return usable.some(name => name === 'PLAIN' || isScram(name)) ? usable : possible
}

function isScram (name: MechanismName): name is keyof typeof HASH_OF { return name.startsWith('SCRAM-') }

/** Begins an attempt. A mechanism that was not offered fails with invalid-mechanism. */
export function start (name: string, context: MechanismContext, advertised: Advertised): SaslDialogue {
  const mechanism = MECHANISMS.find(known => known === name && advertised.mechanisms.includes(known))
  return new Dialogue(name, mechanism === undefined ? refuse : exchangeOf(mechanism, context, advertised))
}

/** Makes an attempt from the steps of a mechanism. */
export function dialogueOf (name: string, exchange: Exchange): SaslDialogue {
  return new Dialogue(name, exchange)
}

function isPossible (name: MechanismName, context: MechanismContext): boolean {
  if (name.endsWith('-PLUS')) return context.bindings.length > 0
  // RFC 6120 §13.8.3: PLAIN only on an encrypted stream.
  if (name === 'PLAIN') return context.secure
  // RFC 6120 §6.3.4: only with a certificate that names an account of this host.
  if (name === 'EXTERNAL') {
    const { certificate, accounts } = context
    return certificate !== undefined && certifiedAccounts(certificate, accounts).length > 0
  }
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
    if (this.#state === 'over') return failed(new SaslFault('malformed-request', 'this login attempt has ended'))
    // RFC 4422 §3.1: the client sends first in every mechanism here. Without an initial response it gets an empty
    // challenge.
    if (message === undefined && this.#state === 'new' && this.#exchange !== refuse) {
      this.#state = 'open'
      return { kind: 'challenge', data: NOTHING }
    }
    this.#state = 'over' // also during a step: a message that the client sends before it was asked is out of order
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
  if (error instanceof Overloaded) return temporary('too many logins at the same time')
  if (error instanceof StorageUnavailable) return temporary('the storage is unavailable')
  return { ...temporary('internal server error'), error }
}

function temporary (reason: string): SaslFailure {
  return { kind: 'failure', condition: 'temporary-auth-failure', reason }
}
