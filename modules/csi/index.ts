/** XEP-0352 Client State Indication: an inactive device receives only what is urgent at once, and the rest with it. */
import {
  addressed, clientStates, defineModule, follow, hostParting, isAddressed, isMessage, localName, NS, sending,
  sessionActive, sessionClosed, sessionDetached, sessionResumed, setting, urgencyOf, urgencyRules, xml,
} from '../../lib/api.js'
import type { ModuleHost } from '../../lib/api.js'
import { InactiveDevices } from './inactive.js'

export default defineModule({
  name: 'csi',
  about: 'Delays what is not urgent for inactive devices: presence, chat states and the like are sent with the next urgent stanza.',
  xeps: ['0352 v1.0.0'],
  settings: {
    stanzas: setting.count({ min: 1, max: 10_000 }).default(200).says('The most stanzas that wait for a device. With more, all of them are sent.'),
    bytes: setting.size({ min: '1KiB', max: '16MiB' }).default('128KiB').says('The most bytes that wait for a device. With more, all of them are sent.'),
    totalBytes: setting.size({ min: '64KiB', max: '64GiB' }).default('64MiB').was('all').says('The most bytes that wait for the devices of all hosts together; of several hosts, the largest setting counts. With more, those of the device that holds most are sent.'),
    urgentNamespaces: setting.list(setting.text({ max: 200 })).default([]).was('now').says('Namespaces: messages with an element of one of these are sent at once.'),
    delayedNamespaces: setting.list(setting.text({ max: 200 })).default([]).was('hold').says('Namespaces: messages with an element of one of these wait.'),
  },
  counts: {
    waited: 'Stanzas that waited because their device was inactive, by kind.',
    'spared.stanzas': 'Stanzas that were dropped or replaced because their device was inactive, by kind.',
    'spared.bytes': 'Bytes that were dropped or replaced because their device was inactive, by kind.',
    'wakeups.spared': 'Stanzas that waited and were sent with others: each would have woken its device.',
  },

  setup (host) {
    const rules = urgencyRules(host.settings)
    const devices = new InactiveDevices(host, host.settings, stanza => urgencyOf(stanza, rules))
    host.provide(clientStates, {
      isInactive: session => devices.has(session),
      urgencyOf: stanza => urgencyOf(stanza, rules),
    })
    host.whileUp(() => devices.start())
    takeIndications(host, devices)
    // In phase `act`: what waits is the stanza as the handlers before have left it.
    host.on(sending, ({ session, stanza }) => devices.decide(session, stanza))
    watchSessions(host, devices)
  },
})

/** Lets clients say that they are active or inactive, also while they bind (XEP-0386). */
function takeIndications (host: ModuleHost, devices: InactiveDevices): void {
  host.offer({
    namespace: NS.CSI,
    offered: ({ identity }) => identity === undefined ? undefined : xml('csi', { xmlns: NS.CSI }),
  })
  host.nonza(NS.CSI, 'active', (_, session) => {
    const wasInactive = devices.has(session)
    devices.remove(session)
    if (wasInactive) return follow(host.fire(sessionActive, { session }), () => undefined)
    return undefined
  })
  host.nonza(NS.CSI, 'inactive', (_, session) => { devices.add(session) })
  host.offerInline({
    at: 'bind',
    namespace: NS.CSI,
    offered: () => xml('feature', { var: NS.CSI }),
    take: ({ session }, request) => {
      if (session !== undefined && request !== undefined && localName(request) === 'inactive') devices.add(session)
      return undefined
    },
  })
}

/** Sees to it that nothing that waits is lost with a connection, a session or the process. */
function watchSessions (host: ModuleHost, devices: InactiveDevices): void {
  // If the session hibernates (XEP-0198), its waiting stanzas join those that are sent on resumption.
  host.on(sessionDetached, ({ session, keep }) => { if (keep) devices.remove(session) }, 'observe')
  // The slot was reset when the session attached: nothing is delayed from now on.
  host.on(sessionResumed, ({ session }) => {
    session.mayBeDelayed = false
    session.manager?.flushDelayed()
  })
  // Sessions that are resumed after the restart store these stanzas with the rest. From now on nothing is delayed: it
  // would be lost with the process.
  host.on(hostParting, ({ sessions }) => {
    for (const session of sessions) devices.remove(session)
  }, 'screen')
  // A message that the device will not receive goes to the account's other devices, or to the offline store.
  host.on(sessionClosed, ({ session }) => {
    for (const stanza of devices.take(session)) {
      if (!isMessage(stanza) || !isAddressed(stanza)) continue
      host.router.redeliver(addressed(stanza, stanza.to), host.clock.now())
    }
  }, 'observe')
}
