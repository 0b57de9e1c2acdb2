/** A SASL mechanism: its steps, the parts of a stream that it uses, and its results (RFC 4422). */
import type { Ids } from '../base/ids.js'
import type { Jid } from '../xmpp/jid.js'
import type { Accounts } from './accounts.js'
import type { ChannelBinding } from './channel-binding.js'
import type { SaslCondition } from './fault.js'

/** The parts of a stream that mechanisms use. */
export interface MechanismContext {
  readonly accounts: Accounts
  readonly ids: Ids
  /** True in TLS, or on a connection that does not need it. */
  readonly secure: boolean
  /** The channel bindings of this connection, made by `channelBindings`. Empty without TLS. */
  readonly bindings: readonly ChannelBinding[]
  /** The client's certificate as DER, only if TLS has verified it with an authority from the conf. */
  readonly certificate: Uint8Array | undefined
  /** The mechanisms that the conf allows. */
  readonly allowed: readonly string[]
  /** Called when the account is known, before anything is looked up. Delays clients that guess passwords. */
  readonly admit?: (account: Jid) => void | Promise<void>
  /** Called with an error that does not keep the login from succeeding. */
  readonly trouble?: (error: unknown) => void
}

/**
 * The offer to the client: the mechanisms of the profile in use (SASL or SASL2), and the types of XEP-0440 if they
 * were sent.
 */
export interface Advertised {
  readonly mechanisms: readonly string[]
  readonly bindings: readonly string[] | undefined
}

export interface SaslFailure {
  readonly kind: 'failure'
  readonly condition: SaslCondition
  /** May be sent to the client: it does not reveal which accounts exist. */
  readonly reason: string
  /** The local part that was tried, if known. For logs and the throttle. */
  readonly who?: string
  /** The defect that caused a temporary-auth-failure; undefined if `reason` says what did. */
  readonly error?: unknown
}

export type SaslStep =
  | { readonly kind: 'challenge', readonly data: Uint8Array }
  | { readonly kind: 'success', readonly account: Jid, readonly data?: Uint8Array }
  | SaslFailure

/** One login attempt. */
export interface SaslDialogue {
  readonly mechanism: string
  /**
   * Takes a message of the client; undefined if `<auth/>` held no initial response. Never rejects. No step may follow a
   * success or a failure.
   */
  step (message: Uint8Array | undefined): Promise<SaslStep>
}

/** The steps of a mechanism. A SaslFault that it throws is the failure. */
export type Exchange = (message: Uint8Array) => Promise<SaslStep>
