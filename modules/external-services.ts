/** XEP-0215 External Service Discovery: tells clients the STUN and TURN servers for calls, with passwords that end. */
import { createHmac } from 'node:crypto'
import {
  attributeOf, child, defineModule, discovery, formatDateTime, NS, setting, StanzaError, xml,
} from '../lib/api.js'
import type { Element, Jid, Request } from '../lib/api.js'

const SERVICE = {
  type: setting.choice('stun', 'stuns', 'turn', 'turns').says('The kind of service: STUN tells a client its own address, TURN relays a call. "stuns" and "turns" are over TLS.'),
  host: setting.text({ max: 255 }).says('The name or IP address of the service.'),
  port: setting.optional(setting.port()).says('Its port. By default 3478, and 5349 over TLS.'),
  transport: setting.optional(setting.choice('udp', 'tcp')).says('The transport. By default "udp", and "tcp" over TLS.'),
  secret: setting.optional(setting.secret()).says('The secret that the service shares with this server (`static-auth-secret` of coturn): users get passwords made of it, which end after `lifetime`.'),
}

type Service = setting.Values<typeof SERVICE>

export default defineModule({
  name: 'external-services',
  about: 'Tells clients the STUN and TURN servers that their calls need.',
  xeps: ['0215 v1.0.0'],
  requires: ['disco'],
  settings: {
    services: setting.list(setting.table(SERVICE), { max: 50 }).default([]).says('The services, one table for each. Without any, clients are told that there are none.'),
    lifetime: setting.duration({ min: '1m', max: '30d' }).default('1d').says('How long a password for a service is valid.'),
  },

  setup (host) {
    const { settings: { services, lifetime }, clock } = host
    const elementOf = (service: Service, asker: Jid): Element => {
      return xml('service', { ...addressOf(service), ...passwordFor(service, asker, clock.now() + lifetime) })
    }
    host.whileUp(() => host.use(discovery).feature('host', () => services.length > 0 ? [NS.EXTERNAL_SERVICES] : []))

    host.iq.get('host', NS.EXTERNAL_SERVICES, 'services', request => {
      const asker = ownUser(request)
      const type = attributeOf(request.payload, 'type')
      const wanted = services.filter(service => type === undefined || service.type === type)
      const attributes = { xmlns: NS.EXTERNAL_SERVICES, ...type === undefined ? {} : { type } }
      return xml('services', attributes, ...wanted.map(service => elementOf(service, asker)))
    })

    host.iq.get('host', NS.EXTERNAL_SERVICES, 'credentials', request => {
      const asker = ownUser(request)
      const service = child(request.payload, NS.EXTERNAL_SERVICES, 'service')
      if (service === undefined) throw new StanzaError('bad-request')
      const found = services.filter(one => one.secret !== undefined && isMeant(service, one))
      if (found.length === 0) throw new StanzaError('item-not-found')
      return xml('credentials', { xmlns: NS.EXTERNAL_SERVICES }, ...found.map(one => elementOf(one, asker)))
    })

    /** Returns the account that asks. Others would make calls through relays that they have no account for. */
    function ownUser ({ session }: Request): Jid {
      if (session?.account.domain !== host.jid.domain) throw new StanzaError('forbidden')
      return session.account
    }
  },
})

function addressOf ({ type, host, port, transport }: Service): Readonly<Record<string, string>> {
  const isSecure = type.endsWith('s')
  return { type, host, port: String(port ?? (isSecure ? 5349 : 3478)), transport: transport ?? (isSecure ? 'tcp' : 'udp') }
}

/**
 * The user name is the time at which the password ends, in seconds since 1970, and a pseudonym of the account; the
 * password is its HMAC with SHA-1 (draft-uberti-behave-turn-rest-00 §2.2).
 */
function passwordFor ({ secret }: Service, account: Jid, ends: number): Readonly<Record<string, string>> {
  if (secret === undefined) return {}
  const pseudonym = createHmac('sha256', secret).update(account.toString()).digest('base64url').slice(0, 16)
  const username = `${Math.floor(ends / 1000)}:${pseudonym}`
  const password = createHmac('sha1', secret).update(username).digest('base64')
  return { restricted: 'true', username, password, expires: formatDateTime(Math.floor(ends / 1000) * 1000) }
}

/** XEP-0215 §3.3: host and type name a service; a port, if it is given, must be its own. */
function isMeant (wanted: Element, service: Service): boolean {
  const { type, host, port } = addressOf(service)
  const given = attributeOf(wanted, 'port')
  return attributeOf(wanted, 'type') === type && attributeOf(wanted, 'host') === host && (given === undefined || given === port)
}
