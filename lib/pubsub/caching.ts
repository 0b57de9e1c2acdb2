/** Hints in the metadata of a node, which tell clients how to keep copies of its items (XEP-0460). */
import { NS } from '../xml/namespaces.js'
import { field, type FilledField } from '../xmpp/form.js'

/** The options of a node on which the hints depend. */
interface Options {
  readonly deliverNotifications: boolean
  readonly notifyConfig: boolean
  readonly notifyDelete: boolean
  readonly notifyRetract: boolean
  readonly persistItems: boolean
  readonly suggested: boolean
}

const named = (name: string): string => `{${NS.PUBSUB_CACHING}}${name}`

/** The field with which an owner lets clients suggest the node to others; it is an option of the node, too. */
export const SUGGESTED = field.flag(named('allowed-for-suggestions'), { label: 'Clients may suggest the node to others' })

const HINTS = {
  persistence: field.choice(named('persistence'), ['persistent', 'transient'], { label: 'How items are stored' }),
  items: field.flag(named('consistent-items'), { label: 'An item is the same for all who read it' }),
  set: field.flag(named('consistent-set'), { label: 'All who may read the node read the same items' }),
  stable: field.flag(named('stable-items'), { label: 'New items are the newest' }),
  notified: field.flag(named('always-notify'), { label: 'Each change is notified' }),
  purge: field.flag(named('purge-keep-last-item'), { label: 'A purge keeps the last item' }),
}

/** The fields of all hints. */
export const CACHING_FIELDS = [...Object.values(HINTS), SUGGESTED]

/** Returns the hints for a node. Items are the same for all, in the order of publication, and a purge removes all. */
export function cachingHints (config: Options): readonly FilledField[] {
  return [
    HINTS.persistence.is(config.persistItems ? 'persistent' : 'transient'), HINTS.items.is(true), HINTS.set.is(true),
    HINTS.stable.is(true), HINTS.notified.is(isAlwaysNotified(config)), HINTS.purge.is(false),
    SUGGESTED.is(config.suggested),
  ]
}

/** True if each change of the items and of the node is notified; that items expire is said by other fields. */
function isAlwaysNotified (config: Options): boolean {
  const { deliverNotifications, notifyConfig, notifyDelete, notifyRetract } = config
  return deliverNotifications && notifyConfig && notifyDelete && notifyRetract
}
