/** Finds a domain's server: by SRV records (RFC 2782, XEP-0368), addresses, or the settings of the conf. */
import { randomInt } from 'node:crypto'
import { getServers } from 'node:dns'
import { isIP } from 'node:net'
import type { Answer } from 'dns-packet'
import { understoodRecords } from '../ground/tlsa.js'
import { DnsError, type Dns, type DnsAnswer, type DnsServer } from './dns-client.js'
import { addressOf, asciiOf } from '../ground/domain.js'
import type { ByHand, Target } from '../ground/target.js'

export interface Resolver {
  /** True if TLSA records are asked for, which say what certificate is valid for a domain. */
  readonly isDane: boolean
  /**
   * Returns the places of a domain's server, in the order in which to try them. Rejects with NoServer if DNS says that
   * there is none, and with DnsError if DNS gives no answer.
   */
  resolve (domain: string, byHand?: ByHand): Promise<readonly Target[]>
}

/** DNS says that this domain has no XMPP server. */
export class NoServer extends Error {}

export const SERVER_PORT = 5269
export const DIRECT_PORT = 5270
/** The most SRV records of a name, the most addresses of a server, and the most targets in total. */
const MOST_SERVERS = 16
const MOST_ADDRESSES = 8
const MOST_TARGETS = 20

interface ServerPlace {
  readonly host: string
  readonly port: number
  readonly priority: number
  readonly weight: number
  readonly tls: Target['tls']
  readonly secure: boolean
}

export interface ResolverSettings {
  /** True if TLSA records are asked for and the DNS server is trusted about DNSSEC. */
  readonly dane?: boolean
  /** Returns a random number from 0 up to and excluding `bound`. */
  readonly below?: (bound: number) => number
}

/** Finds servers with DNS. */
export class DnsResolver implements Resolver {
  readonly #dns: Dns
  readonly isDane: boolean
  readonly #below: (bound: number) => number

  constructor (dns: Dns, { dane = false, below = bound => randomInt(bound) }: ResolverSettings = {}) {
    this.#dns = dns
    this.isDane = dane
    this.#below = below
  }

  async resolve (domain: string, byHand?: ByHand): Promise<readonly Target[]> {
    const places = byHand === undefined ? await this.#places(domain) : [placeByHand(byHand)]
    const found = await Promise.allSettled(places.map(place => this.#targetsOf(place)))
    const targets = found.flatMap(result => result.status === 'fulfilled' ? result.value : []).slice(0, MOST_TARGETS)
    if (targets.length > 0) return targets
    const failed = found.find(result => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
    throw new NoServer(`${domain} has no address in DNS`)
  }

  async #places (domain: string): Promise<readonly ServerPlace[]> {
    const literal = addressOf(domain)
    if (literal !== undefined) return [fallback(literal, true)]
    const name = asciiOf(domain)
    const [plain, direct] = await Promise.allSettled([
      this.#dns.query(`_xmpp-server._tcp.${name}`, 'SRV'), this.#dns.query(`_xmpps-server._tcp.${name}`, 'SRV'),
    ])
    const answers = [plain, direct].flatMap(result => result.status === 'fulfilled' ? [result.value] : [])
    if (answers.length === 0) throw plain.status === 'rejected' ? plain.reason : new DnsError('DNS gave no answer')
    const places = [
      ...plain.status === 'fulfilled' ? placesIn(plain.value, 'required') : [],
      ...direct.status === 'fulfilled' ? placesIn(direct.value, 'direct') : [],
    ]
    if (places.length > 0) return inOrder(places, this.#below)
    // RFC 2782: a target of "." says that the service is not available.
    const isDenied = answers.some(answer => answer.records.length > 0)
    if (isDenied) throw new NoServer(`DNS says that ${domain} has no XMPP server`)
    // RFC 6120 §3.2.2: without SRV records, the domain is its own server.
    return [fallback(name, answers.every(answer => answer.secure))]
  }

  async #targetsOf (place: ServerPlace): Promise<readonly Target[]> {
    const { port, tls, host } = place
    const literal = addressOf(host)
    if (literal !== undefined) return [{ host, address: literal, port, tls, secure: place.secure }]
    const [six, four] = await Promise.allSettled([this.#dns.query(host, 'AAAA'), this.#dns.query(host, 'A')])
    const of = (result: PromiseSettledResult<DnsAnswer>): readonly Target[] => {
      if (result.status !== 'fulfilled') return []
      const secure = place.secure && result.value.secure
      return result.value.records.flatMap(record =>
        (record.type === 'A' || record.type === 'AAAA') && isIP(record.data) !== 0
          ? [{ host, address: record.data, port, tls, secure }]
          : []).slice(0, MOST_ADDRESSES)
    }
    const targets = inTurns(of(six), of(four))
    if (targets.length > 0) return await this.#certified(targets, place)
    for (const result of [six, four]) if (result.status === 'rejected') throw result.reason
    return []
  }

  /**
   * RFC 7673 §3.1, §3.2: a TLSA record is worthless after a name or address that was not validated with DNSSEC. §3.3:
   * rejects if nobody can say whether there is a record; no peer there can be trusted then.
   */
  async #certified (targets: readonly Target[], { host, port }: ServerPlace): Promise<readonly Target[]> {
    if (!this.isDane || !targets.some(({ secure }) => secure)) return targets
    const answer = await this.#dns.query(`_${port}._tcp.${host}`, 'TLSA')
    const records = answer.records.flatMap(record => record.type === 'TLSA' ? [record.data] : [])
    const tlsa = answer.secure ? understoodRecords(records) : []
    return tlsa.length === 0 ? targets : targets.map(target => target.secure ? { ...target, tlsa } : target)
  }
}

/**
 * RFC 2782: sorts by priority, lowest first, and at random by weight within one. XEP-0368 §4: mixes both kinds of
 * records.
 */
function inOrder (places: readonly ServerPlace[], below: (bound: number) => number): readonly ServerPlace[] {
  const ordered: ServerPlace[] = []
  const priorities = [...new Set(places.map(place => place.priority))].sort((a, b) => a - b)
  for (const priority of priorities) {
    const left = places.filter(place => place.priority === priority).sort((a, b) => a.weight - b.weight)
    while (left.length > 0) {
      let chance = below(left.reduce((sum, place) => sum + place.weight, 0) + 1)
      const at = left.findIndex(place => (chance -= place.weight) <= 0)
      ordered.push(...left.splice(Math.max(at, 0), 1))
    }
  }
  return ordered
}

function placesIn (answer: DnsAnswer, tls: Target['tls']): readonly ServerPlace[] {
  const servers = answer.records.flatMap((record: Answer) => {
    if (record.type !== 'SRV') return []
    const { target, port, priority = 0, weight = 0 } = record.data
    const host = target.replace(/\.$/, '')
    return host === '' || port === 0 ? [] : [{ host, port, priority, weight, tls, secure: answer.secure }]
  })
  // RFC 2782: those with the lowest priority are tried first, so the others are left out.
  return servers.sort((a, b) => a.priority - b.priority).slice(0, MOST_SERVERS)
}

function placeByHand ({ host, port, tls }: ByHand): ServerPlace {
  const fallbackPort = tls === 'direct' ? DIRECT_PORT : SERVER_PORT
  return { host: asciiOf(host), port: port ?? fallbackPort, priority: 0, weight: 0, tls, secure: false }
}

function fallback (host: string, secure: boolean): ServerPlace {
  return { host, port: SERVER_PORT, priority: 0, weight: 0, tls: 'required', secure }
}

/** RFC 8305 §4: takes one address of each family in turn, IPv6 first. */
function inTurns (six: readonly Target[], four: readonly Target[]): readonly Target[] {
  const targets: Target[] = []
  for (let at = 0; at < Math.max(six.length, four.length); at++) {
    for (const target of [six[at], four[at]]) if (target !== undefined) targets.push(target)
  }
  return targets
}

/** The DNS servers that the system uses. */
export function systemServers (): readonly DnsServer[] {
  return getServers().flatMap(text => serverOf(text) ?? [])
}

/** Parses "127.0.0.1", "127.0.0.1:53", "::1" or "[::1]:53"; undefined for anything else. */
export function serverOf (text: string): DnsServer | undefined {
  if (isIP(text) !== 0) return { address: text, port: 53 }
  const [, six, four, port] = /^(?:\[([^\]]+)\]|([0-9.]+))(?::(\d{1,5}))?$/.exec(text) ?? []
  const address = six ?? four
  if (address === undefined || isIP(address) === 0) return undefined
  return { address, port: port === undefined ? 53 : Number(port) }
}
