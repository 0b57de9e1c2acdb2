/** The error that ends a login attempt (RFC 6120 §6.5). */

/** The conditions of RFC 6120 §6.5. */
export type SaslCondition =
  | 'aborted' | 'account-disabled' | 'credentials-expired' | 'encryption-required' | 'incorrect-encoding'
  | 'invalid-authzid' | 'invalid-mechanism' | 'malformed-request' | 'mechanism-too-weak' | 'not-authorized'
  | 'temporary-auth-failure'

/**
 * Thrown by a mechanism to fail the attempt. `message` may be sent to the client; `who` is the local part that was
 * tried.
 */
export class SaslFault extends Error {
  readonly condition: SaslCondition
  readonly who: string | undefined

  constructor (condition: SaslCondition, reason: string, who?: string) {
    super(reason)
    this.condition = condition
    this.who = who
  }
}
