/** XEP-0352 Client State Indication: to a device that nobody looks at goes what matters, and the rest with it. */
import {
  addressed, clientStates, defineModule, follow, hostParting, isAddressed, isMessage, Ledger, localName, NS, sending, sessionActive,
  sessionClosed, sessionDetached, sessionResumed, setting, slot, urgencyOf, urgencyRules, xml,
} from '../../lib/api.js'
import type { Session, Stanza } from '../../lib/api.js'
import { Held, type DeviceShare } from './held.js'

/** What waits for an inactive device; undefined while it is active. §5: resumed or new, a stream is active. */
const inactive = slot<Held | undefined>('csi.inactive', { initial: () => undefined, onResume: 'reset' })

export default defineModule({
  name: 'csi',
  about: 'Spares devices that nobody looks at: presence, chat states and the like wait for what matters.',
  xeps: ['0352 v1.0.0'],
  settings: {
    stanzas: setting.count({ min: 1, max: 10_000 }).default(200).says('What may wait for a device, in stanzas. With more, all of it is sent.'),
    bytes: setting.size({ min: '1KiB', max: '16MiB' }).default('128KiB').says('What may wait for a device, in bytes.'),
    all: setting.size({ min: '64KiB', max: '64GiB' }).default('64MiB').says('What may wait for all devices of the host, in bytes. With more, what waits for the device with most is sent.'),
    now: setting.list(setting.text({ max: 200 })).default([]).says('Namespaces: messages with content of these are sent at once.'),
    hold: setting.list(setting.text({ max: 200 })).default([]).says('Namespaces: messages with content of these wait.'),
  },
  counts: {
    waited: 'Stanzas that waited for devices that nobody looks at, by kind.',
    'spared.stanzas': 'Stanzas that devices nobody looks at were spared, by kind.',
    'spared.bytes': 'Bytes that devices nobody looks at were spared, by kind.',
    'wakeups.spared': 'Stanzas that waited and came with others: each would have woken its device by itself.',
  },

  setup (host) {
    const { settings } = host
    const rules = urgencyRules(settings)
    const ledger = new Ledger<DeviceShare>(settings.all, ({ session }) => { flush(session) })

    // Of an earlier setup of the module.
    host.whileUp(() => {
      for (const session of host.sessions.all()) {
        const share = session.get(inactive)?.share
        if (share === undefined) continue
        const { bytes } = share
        share.bytes = 0
        ledger.change(share, bytes)
      }
      return () => {}
    })

    /** What waits for a device has changed. */
    function count ({ share, bytes }: Held): void { ledger.change(share, bytes - share.bytes) }

    host.offer({
      namespace: NS.CSI,
      offered: ({ identity }) => identity === undefined ? undefined : xml('csi', { xmlns: NS.CSI }),
    })
    host.nonza(NS.CSI, 'active', (_, session) => {
      const wasInactive = session.get(inactive) !== undefined
      flush(session)
      session.put(inactive, undefined)
      if (wasInactive) return follow(host.fire(sessionActive, { session }), () => undefined)
      return undefined
    })
    host.nonza(NS.CSI, 'inactive', (_, session) => { rest(session) })

    host.provide(clientStates, {
      isInactive: session => session.get(inactive) !== undefined,
      urgencyOf: stanza => urgencyOf(stanza, rules),
    })

    host.offerInline({
      at: 'bind',
      namespace: NS.CSI,
      offered: () => xml('feature', { var: NS.CSI }),
      take: ({ session }, request) => {
        if (session !== undefined && request !== undefined && localName(request) === 'inactive') rest(session)
        return undefined
      },
    })

    function rest (session: Session): void {
      if (session.get(inactive) === undefined) session.put(inactive, new Held(session))
    }

    // Last of all: what another module has put in a stanza's place is what waits.
    host.on(sending, ({ session, stanza }) => {
      const held = session.get(inactive)
      if (held === undefined) return undefined
      const urgency = urgencyOf(stanza, rules)
      if (urgency === 'now') {
        flush(session)
        return undefined
      }
      const isPatient = urgency === 'hold' && session.manager !== undefined
      if (isPatient) bePatient(session, held, stanza)
      else spare(held, stanza, urgency)
      if (held.length > settings.stanzas || held.bytes > settings.bytes) flush(session)
      else count(held)
      return isPatient ? undefined : 'handled'
    })

    /** It is numbered and written down as ever, and goes with the next that may not wait: no crash and no end of the session loses it. */
    function bePatient (session: Session, held: Held, stanza: Stanza): void {
      host.count('waited', 1, { kind: stanza.kind })
      session.isPatient = true
      // RFC 6120 §10.1: what comes from one address keeps its order.
      const before = held.remove(keyOf('presence', stanza))
      if (before !== undefined) {
        held.note(before)
        session.pass(before)
      }
      held.note(stanza)
    }

    function spare (held: Held, stanza: Stanza, urgency: 'hold' | 'last' | 'drop'): void {
      host.count('waited', 1, { kind: stanza.kind })
      if (urgency === 'hold') held.add(stanza)
      else {
        const spared = urgency === 'drop' ? stanza : held.replace(keyOf(stanza.kind, stanza), stanza)
        if (spared === undefined) return
        host.count('spared.stanzas', 1, { kind: stanza.kind })
        host.count('spared.bytes', spared.octets().length, { kind: stanza.kind })
      }
    }

    /** What waits goes out in its order. It has passed this gate. */
    function flush (session: Session): void {
      session.isPatient = false
      const held = session.get(inactive)
      const { length } = held ?? { length: 0 }
      if (held === undefined || length === 0) return
      host.count('wakeups.spared', length)
      const all = held.take()
      count(held)
      for (const stanza of all) session.pass(stanza)
      session.manager?.rouse()
    }

    // What waits is for the device: where its session waits for it to come back (XEP-0198), it is among what it gets then.
    host.on(sessionDetached, ({ session, keep }) => {
      if (!keep) return
      flush(session)
      session.put(inactive, undefined)
    }, 'observe')
    // While it attached, its slot was reset: what was patient meanwhile is so no longer.
    host.on(sessionResumed, ({ session }) => {
      session.isPatient = false
      session.manager?.rouse()
    })
    // Where it is resumed behind the next start, it is among what is written down for that.
    host.on(hostParting, ({ sessions }) => {
      for (const session of sessions) {
        flush(session)
        session.put(inactive, undefined) // nothing waits from now on: it would be gone with the process
      }
    }, 'screen')
    // A message that its device will not have is for the others of the account, or waits for it there.
    host.on(sessionClosed, ({ session }) => {
      const held = session.get(inactive)
      const all = held?.take() ?? []
      if (held !== undefined) count(held)
      for (const stanza of all) {
        if (isMessage(stanza) && isAddressed(stanza)) host.router.redeliver(addressed(stanza, stanza.to), host.clock.now())
      }
    }, 'observe')
  },
})

/** Of one sender, the last of this kind. */
function keyOf (kind: string, { from }: Stanza): string { return `${kind} ${from.toString()}` }
