/** The features of publish-subscribe that disco names (XEP-0060 §10). */
import { NS } from '../xml/namespaces.js'

/** The features that each service has. */
const COMMON = [
  'access-authorize', 'access-open', 'access-whitelist', 'config-node', 'config-node-max', 'create-and-configure',
  'create-nodes', 'delete-items', 'delete-nodes', 'instant-nodes', 'item-ids', 'last-published', 'leased-subscription',
  'manage-subscriptions', 'member-affiliation', 'meta-data', 'modify-affiliations', 'multi-items', 'multi-subscribe',
  'outcast-affiliation', 'persistent-items', 'publish', 'publish-node-full', 'publish-only-affiliation',
  'publish-options', 'publisher-affiliation', 'purge-nodes', 'retract-items', 'retrieve-affiliations',
  'retrieve-default', 'retrieve-default-sub', 'retrieve-items', 'retrieve-subscriptions', 'rsm', 'subscribe',
  'subscription-notifications', 'subscription-options',
] as const

/** The features of other specifications. */
const OTHERS = [NS.PUBSUB_CACHING, NS.PUBSUB_FILTER, NS.ATTACHMENTS, NS.PUBLIC_SUBSCRIPTIONS] as const

/** Returns the features that each service has, and these of XEP-0060, by their names without the namespace. */
export function pubsubFeatures (more: readonly string[] = []): readonly string[] {
  return [NS.SHIM, NS.PUBSUB, ...OTHERS, ...[...COMMON, ...more].sort().map(name => `${NS.PUBSUB}#${name}`)]
}
