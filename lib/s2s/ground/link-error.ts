/** Why there is no link to another server. */
import { StanzaError, type StanzaCondition } from '../../xmpp/errors.js'

/** Who has to fix a failure. */
export type Fault = 'them' | 'us' | 'network'

/** Why there is no link to another server. The message is for the operator: it may name addresses of our network. */
export class LinkError extends Error {
  readonly condition: StanzaCondition
  /** True if it is worth trying again soon, because the peer was away and did not refuse. */
  readonly isPassing: boolean
  readonly fault: Fault
  /** The part of the message that users may read. */
  readonly text: string

  /** `detail`: added to the message, for the operator only. */
  constructor (
    condition: StanzaCondition, text: string,
    how: Partial<Pick<LinkError, 'isPassing' | 'fault' | 'cause'>> & { readonly detail?: string } = {},
  ) {
    super(how.detail === undefined ? text : `${text} (${how.detail})`, { cause: how.cause })
    this.condition = condition
    this.text = text
    this.isPassing = how.isPassing ?? false
    this.fault = how.fault ?? 'them'
  }

  /** Returns the error for the sender of a stanza. */
  stanzaError (): StanzaError {
    return new StanzaError(this.condition, this.text, { cause: this })
  }
}

/** Returns what a peer is told if its key could not be checked. It says nothing about our side. */
export function verdictOf (error: unknown): StanzaError {
  return new StanzaError(error instanceof LinkError ? error.condition : 'remote-server-timeout')
}
