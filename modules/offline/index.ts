/** XEP-0160 Offline Messages, with XEP-0203 delays: stores messages for accounts without an available device. */
import {
  accountRemoved, archives, defineModule, follow, fromOctets, hasForm, hostRaised, isText, journal, messageAddressed,
  messageUndelivered, NS, offlineMessages, records, sessionClosed, sessionPresent, sessionResumed, sessionUnavailable,
  setting, StreamError, toOctets,
} from '../../lib/api.js'
import type { Maybe, MessageAddressed, MessageUndelivered, ModuleHost, OfflineMessages } from '../../lib/api.js'
import { undelayed } from './delay.js'
import { Delivery } from './delivery.js'
import type { Drains, StoredDebt } from './drains.js'
import { moveMessages } from './moving.js'
import { OfflineStore } from './store.js'
import { isWorthKeeping } from './worth.js'

/** How often the bounds of the store may be used by messages for devices that get the stored ones just now. */
const IN_ORDER = 2
/** The interval between removals of expired messages, in milliseconds. */
const HOUR = 3_600_000

export default defineModule({
  name: 'offline',
  about: 'Stores messages for accounts without an available device.',
  xeps: ['0160 v1.0.1', '0203 v2.0'],
  features: { host: [NS.MSG_OFFLINE] },
  requires: ['message'],
  settings: {
    keep: setting.count({ min: 1, max: 1_000_000 }).default(200).says('The most messages that are stored for an account.'),
    bytes: setting.size({ min: '10KiB', max: '1GiB' }).default('5MiB').says('The most bytes of these messages together.'),
    expire: setting.duration({ min: '1h', max: '10y' }).default('30d').says('How long a message is stored.'),
  },
  stores: {
    messages: journal<string>(1, undefined, { check: isText }),
    debts: records<StoredDebt>(1, undefined, {
      check: value => hasForm(value, { resources: 'strings', isElsewhere: 'boolean' }), unreadable: 'moved', byHost: true,
    }),
  },

  setup (host) {
    const store = new OfflineStore(host, host.stores.messages, host.settings)
    const delivery = new Delivery(host, store, host.stores.debts)
    host.on(messageAddressed, event => event.recipients.length === 0
      ? keepAddressed(host, store, event)
      : keepInOrder(store, delivery.drains, event), 'record')
    host.on(messageUndelivered, event => keepUndelivered(host, store, event), 'record')
    // A new account with the same name starts with an empty store.
    host.on(accountRemoved, ({ account, batch }) => { batch.committed(() => { store.forget(account) }) }, 'record')

    // XEP-0160 §2: to the first device with a non-negative priority.
    host.on(sessionPresent, ({ session, before }) => {
      if (session.priority < 0 || before.available && before.priority >= 0) return
      delivery.begin(session)
    }, 'observe')
    host.on(sessionResumed, ({ session }) => { delivery.resume(session) }, 'observe')
    host.on(sessionUnavailable, ({ session }) => { delivery.handOn(session) }, 'observe')
    host.on(sessionClosed, ({ session }) => { delivery.handOn(session) }, 'observe')
    // The sessions of the previous process, which stream management restores.
    host.on(hostRaised, () => delivery.raise(), 'observe')
    host.whileUp(() => delivery.start())

    const sweep = host.clock.every(HOUR, () => { void store.expire(host.settings.expire) })
    host.defer(() => { sweep.cancel() })
    host.provide(offlineMessages, serviceOf(host, store))
    moveMessages(host, store)
  },
})

/** Stores a message without recipients. */
function keepAddressed (host: ModuleHost, store: OfflineStore, event: MessageAddressed): Maybe<undefined> {
  if (event.kept) return undefined
  event.kept = true
  if (!isWorthKeeping(event.message)) return undefined
  const { message, account, batch } = event
  return follow(store.amountOf(account), amount => {
    // An archived message is not refused if the offline store is full.
    const isFull = store.isFull(amount, message.octets().length)
    if (isFull && host.find(archives)?.idOf(account, message) !== undefined) return undefined
    store.keep(account, amount, store.entryOf(message), batch)
    return undefined
  })
}

/**
 * Stores a message for the devices to which earlier messages are still being delivered, so that it comes after them
 * (RFC 6120 §10.1). It may use the bounds of the store twice. If that is not enough, the devices that wait lose their
 * sessions, as those that acknowledge nothing do: the message does not overtake others, and its sender does not wait.
 */
function keepInOrder (store: OfflineStore, drains: Drains, event: MessageAddressed): Maybe<undefined> {
  const { message, account, recipients, batch } = event
  const later = drains.waitingAmong(account, recipients)
  if (later.length === 0 || !isWorthKeeping(message)) return undefined
  return follow(store.amountOf(account), amount => {
    const entry = store.entryOf(message)
    if (store.isFull(amount, Buffer.byteLength(entry.value), IN_ORDER)) {
      for (const session of later) session.close(new StreamError('resource-constraint', 'too many messages wait for the device'))
      return undefined
    }
    store.keep(account, amount, entry, batch, IN_ORDER)
    drains.owe(account, entry.id, { sessions: later, isElsewhere: later.length < recipients.length }, batch)
    event.storedFor = later
    return undefined
  })
}

/** Stores a message that was not acknowledged when its session ended, with its original time. */
function keepUndelivered (host: ModuleHost, store: OfflineStore, event: MessageUndelivered): Maybe<undefined> {
  if (event.recipients.length > 0 || event.kept) return undefined
  event.kept = true
  if (!isWorthKeeping(event.message)) return undefined
  const { account, batch } = event
  const { message, at } = undelayed(host.domain, event.message, event.at)
  return follow(store.amountOf(account), amount => {
    const isFound = store.isFull(amount, message.octets().length) && host.find(archives)?.keeps(account, message)
    return follow(isFound, found => {
      if (found !== true) store.keep(account, amount, { ...store.entryOf(message), at }, batch)
      return undefined
    })
  })
}

function serviceOf (host: ModuleHost, store: OfflineStore): OfflineMessages {
  return {
    count: account => store.count(account),
    async * all (account) {
      for await (const { at, value } of store.all(account)) yield { at, octets: toOctets(value) }
    },
    add: (account, { at, from, octets }, batch) => follow(store.amountOf(account), amount => {
      store.keep(account, amount, { id: host.ids.next(), at, with: from.toString(), value: fromOctets(octets) }, batch)
    }),
  }
}
