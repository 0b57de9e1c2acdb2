/** The errors of publish-subscribe: a condition of XMPP with the specific condition of XEP-0060. */
import { xml } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError, type ErrorType, type StanzaCondition } from '../xmpp/errors.js'

/** The specific conditions that this server uses (XEP-0060 §15.2, schema of pubsub#errors). */
export type PubSubCondition =
  | 'closed-node' | 'invalid-jid' | 'invalid-options' | 'invalid-payload' | 'invalid-subid' | 'item-forbidden'
  | 'item-required' | 'jid-required' | 'max-items-exceeded' | 'max-nodes-exceeded' | 'node-full' | 'nodeid-required'
  | 'not-in-roster-group' | 'not-subscribed' | 'payload-required' | 'payload-too-big' | 'pending-subscription'
  | 'precondition-not-met' | 'presence-subscription-required' | 'subid-required' | 'too-many-subscriptions'
  | 'unsupported-access-model'

/** Returns the error with this condition and this specific one. `type` is given if it is not that of RFC 6120. */
export function pubsubError (
  condition: StanzaCondition, specific: PubSubCondition,
  how: { readonly type?: ErrorType, readonly text?: string } = {},
): StanzaError {
  const { type, text } = how
  const plus = xml(specific, { xmlns: NS.PUBSUB_ERRORS })
  return new StanzaError(condition, text, type === undefined ? { plus } : { plus, type })
}

/** Returns the error for a feature that the service or the node does not have. */
export function unsupported (feature: string): StanzaError {
  const plus = xml('unsupported', { xmlns: NS.PUBSUB_ERRORS, feature })
  return new StanzaError('feature-not-implemented', undefined, { plus })
}
