/**
 * XEP-0115 Entity Capabilities: the server's own caps, and those of devices. Each hash is queried once, and trusted
 * only if the answer matches it.
 */
import {
  capabilities, CAPS_NODE, capsLearned, defineModule, discovery, follow, hasFrom, hasTo, namespaceOf, NS,
  offersChanged, presenceArriving, presences, presenceSent, rosters, xml,
} from '../../lib/api.js'
import type { Element, Jid, Maybe, ModuleHost, Presence } from '../../lib/api.js'
import { DeviceCaps } from './devices.js'
import { capsOf, verificationOf } from './verification.js'

export default defineModule({
  name: 'caps',
  about: 'Announces the features of the server as a hash, and learns those of devices from their hashes.',
  xeps: ['0115 v1.6.0'],
  features: { host: [NS.CAPS, NS.CAPS_OPTIMIZE] },
  requires: ['disco', 'presence'],

  setup (host) {
    let own: Element | undefined
    host.on(offersChanged, () => { own = undefined }, 'observe')
    host.offer({
      namespace: NS.CAPS,
      offered: () => own ??= xml('c', { xmlns: NS.CAPS, hash: 'sha-1', node: CAPS_NODE, ver: verificationOf(host.use(discovery).info()) ?? '' }),
    })

    const devices = new DeviceCaps(host, device => { void host.fire(capsLearned, { device }) })
    host.provide(capabilities, {
      of: device => devices.of(device),
      // §8.4: a recipient of the earlier presence knows the caps.
      trimmed: (presence, before) =>
        before !== undefined && isSame(presence, before) ? presence.with({ without: isCaps }) : presence,
    })
    host.on(presenceSent, ({ presence, session }) => {
      if (presence.to === undefined) devices.learn(presence, session.jid, host.jid)
    }, 'stamp')
    host.on(presenceArriving, ({ presence, account, session }) => {
      if (session !== undefined || !isOfUse(host, account, presence)) return undefined
      return follow(isExpected(host, account, presence.from), expected => {
        if (expected) devices.learn(presence, presence.from, account)
      })
    }, 'observe')
  },
})

/**
 * True if somebody uses the caps: the account's devices; or, while there are none, the account itself, which sends the
 * device of a contact on another server what that is interested in (XEP-0163 §4.3.3).
 */
function isOfUse (host: ModuleHost, account: Jid, presence: Presence): boolean {
  if (host.sessions.of(account).length > 0) return true
  return !host.router.serves(presence.from.domain) && presence.has(NS.CAPS, 'c')
}

/**
 * True if the account expects presence from this address, or shows it its own. Others are not queried: the query
 * would reveal that the account exists and is online (RFC 6121 §8.5.1).
 */
function isExpected (host: ModuleHost, account: Jid, from: Jid): Maybe<boolean> {
  const isTold = host.sessions.of(account).some(device => host.use(presences).directedAt(device, from.bare).length > 0)
  return isTold || follow(host.find(rosters)?.of(account), roster => {
    const item = roster?.item(from.bare)
    return item !== undefined && (hasTo(item) || hasFrom(item))
  })
}

function isCaps (element: Element): boolean {
  return element.getName() === 'c' && namespaceOf(element) === NS.CAPS
}

function isSame (presence: Presence, before: Presence): boolean {
  const now = capsOf(presence.child(NS.CAPS, 'c'))
  const then = capsOf(before.child(NS.CAPS, 'c'))
  return now !== undefined && now.ver === then?.ver && now.hash === then.hash && now.node === then.node
}
