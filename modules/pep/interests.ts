/** The interest of devices: the features that end in +notify (XEP-0060 §9.2). */
import type { Capabilities, Jid } from '../../lib/api.js'

const SUFFIX = '+notify'
const NOTHING: ReadonlySet<string> = new Set()
/** The nodes that a set of features names. Devices with the same software share both sets. */
const known = new WeakMap<ReadonlySet<string>, ReadonlySet<string>>()

/** Returns the nodes that a device wants to be notified of; undefined if that is not known yet. */
export function interestOf (capabilities: Capabilities | undefined, device: Jid): ReadonlySet<string> | undefined {
  const features = capabilities?.of(device)
  if (features === undefined) return undefined
  let nodes = known.get(features)
  if (nodes === undefined) {
    const found = [...features].filter(feature => feature.endsWith(SUFFIX))
    nodes = new Set(found.map(feature => feature.slice(0, feature.length - SUFFIX.length)))
    known.set(features, nodes)
  }
  return nodes
}

/** Returns those that are in `now` and not in `before`. */
export function added (now: ReadonlySet<string>, before: ReadonlySet<string>): ReadonlySet<string> {
  if (now === before || now.size === 0) return NOTHING
  return before.size === 0 ? now : new Set([...now].filter(node => !before.has(node)))
}
