/** XEP-0352 Client State Indication: to a device that nobody looks at goes what matters, and the rest with it. */
import { defineModule, localName, NS, sending, sessionDetached, setting, slot, xml } from '../../lib/api.js'
import type { Session, Stanza } from '../../lib/api.js'
import { Held } from './held.js'
import { rulesWith, urgencyOf } from './rules.js'

/** What waits for an inactive device; undefined while it is active. §5: resumed or new, a stream is active. */
const inactive = slot<Held | undefined>('csi.inactive', { initial: () => undefined, onResume: 'reset' })

export default defineModule({
  name: 'csi',
  about: 'Spares devices that nobody looks at: presence, chat states and the like wait for what matters.',
  xeps: ['0352 v1.0.0'],
  settings: {
    stanzas: setting.count({ min: 1, max: 10_000 }).default(200).says('What may wait for a device, in stanzas. With more, all of it is sent.'),
    bytes: setting.size({ min: '1KiB', max: '16MiB' }).default('128KiB').says('What may wait for a device, in bytes.'),
    now: setting.list(setting.text({ max: 200 })).default([]).says('Namespaces: messages with content of these are sent at once.'),
    hold: setting.list(setting.text({ max: 200 })).default([]).says('Namespaces: messages with content of these wait.'),
  },

  setup (host) {
    const { settings } = host
    const rules = rulesWith(settings)

    host.offer({
      namespace: NS.CSI,
      offered: ({ identity }) => identity === undefined ? undefined : xml('csi', { xmlns: NS.CSI }),
    })
    host.nonza(NS.CSI, 'active', (_, session) => {
      flush(session)
      session.put(inactive, undefined)
    })
    host.nonza(NS.CSI, 'inactive', (_, session) => { rest(session) })

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
      if (session.get(inactive) === undefined) session.put(inactive, new Held())
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
      spare(held, stanza, urgency)
      if (held.length > settings.stanzas || held.bytes > settings.bytes) flush(session)
      return 'handled'
    })

    function spare (held: Held, stanza: Stanza, urgency: 'hold' | 'last' | 'drop'): void {
      host.count(`waited.${stanza.kind}`)
      if (urgency === 'hold') held.add(stanza)
      else {
        const spared = urgency === 'drop' ? stanza : held.replace(`${stanza.kind} ${stanza.from.toString()}`, stanza)
        if (spared === undefined) return
        host.count(`spared.${stanza.kind}.stanzas`)
        host.count(`spared.${stanza.kind}.bytes`, spared.octets().length)
      }
    }

    /** What waits goes out in its order. It has passed this gate. */
    function flush (session: Session): void {
      const waiting = session.get(inactive)?.take() ?? []
      if (waiting.length === 0) return
      host.count('wakeups.spared', waiting.length)
      for (const stanza of waiting) session.pass(stanza)
    }

    // What waits is for the device: where its session waits for it to come back (XEP-0198), it is among what it gets then.
    host.on(sessionDetached, ({ session }) => {
      flush(session)
      session.put(inactive, undefined)
    }, 'observe')
  },
})
