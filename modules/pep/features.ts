/** The features of publish-subscribe that the address of an account has (XEP-0060 §10, XEP-0163 §6.1). */
import { pubsubFeatures } from '../../lib/api.js'

export const FEATURES: readonly string[] = pubsubFeatures([
  'access-presence', 'access-roster', 'auto-create', 'auto-subscribe', 'filtered-notifications',
  'presence-notifications', 'presence-subscribe', 'pubsub-on-a-jid',
])
