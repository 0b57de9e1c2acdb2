/** XEP-0114 Jabber Component Protocol: a program of its own serves a domain, such as a gateway to another network. */
import { defineModule, discovery, service, setting, StanzaError, StreamError } from '../../lib/api.js'
import type { Addressed } from '../../lib/api.js'
import { Lines } from './lines.js'

export default defineModule({
  name: 'component',
  about: 'Lets a program of its own serve a domain, such as a gateway to another network.',
  at: 'services',
  xeps: ['0114 v1.6'],
  after: ['disco'],
  settings: {
    secret: setting.secret().says('The secret that the program shares with the server.'),
    name: setting.optional(setting.text({ max: 100 })).says('The name of the service in the lists of clients.'),
    connections: setting.count({ min: 1, max: 100 }).default(8).says('The most connections of the program at a time. Each sender has one of them, so what it sends keeps its order.'),
    queue: setting.size({ min: '64KiB', max: '6MiB' }).default('4MiB').says('The most bytes that wait for one connection. With more, senders are told to try again later.'),
  },
  counts: {
    sent: 'Stanzas that were given to the program.',
    refused: 'Stanzas that were refused because the program was away, or read too slowly.',
  },

  setup (host) {
    const { settings, log } = host
    // The connections stay while the module is set up again.
    const lines = host.shared(service<Lines>(`component ${host.domain}`), () => new Lines())
    host.component({
      secret: settings.secret,
      enter (line) {
        if (lines.size >= settings.connections) {
          log.warn('component refused', { address: line.address, reason: 'too many connections' })
          throw new StreamError('conflict', 'too many connections')
        }
        return lines.add(line)
      },
    })
    host.serve(stanza => {
      const line = lines.for(stanza.from)
      if (line === undefined || line.backlog > settings.queue) {
        host.count('refused')
        if (!mayBeAnswered(stanza)) return 'handled'
        throw line === undefined ? new StanzaError('remote-server-timeout', 'the service is away') : new StanzaError('resource-constraint', undefined, { type: 'wait' })
      }
      host.count('sent')
      line.send(stanza)
      return 'handled'
    }, () => lines.size > 0)
    host.whileUp(() => {
      const { name } = settings
      const forget = name === undefined ? undefined : host.find(discovery)?.identity({ category: 'component', type: 'generic', name })
      return isReplaced => {
        forget?.()
        if (!isReplaced) lines.end(new StreamError('host-gone'))
      }
    })
  },
})

/**
 * True if an error tells the sender something. Presence is told to many, and its sender waits for no answer unless it
 * enters a room.
 */
function mayBeAnswered ({ kind, type, to }: Addressed): boolean {
  return kind !== 'presence' || type === 'available' && to.resource !== ''
}
