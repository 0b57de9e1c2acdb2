/** Where a domain's server is: SRV (RFC 2782, XEP-0368), addresses, and what the conf says by hand. */
import { randomInt } from 'node:crypto'
import { getServers } from 'node:dns'
import { isIP } from 'node:net'
import { domainToASCII } from 'node:url'
import type { Answer } from 'dns-packet'
import { usable, type Tlsa } from './dane.js'
import { DnsError, type Dns, type DnsAnswer, type DnsServer } from './dns/client.js'

/** One place where a domain's server may be reached. */
export interface Target {
  /** The name that stands in DNS, for the operator. */
  readonly host: string
  readonly address: string
  readonly port: number
  /** 'direct': TLS from the first byte (XEP-0368). */
  readonly tls: 'required' | 'direct'
  /** All answers that led here were checked by DNSSEC. */
  readonly secure: boolean
  /** What the domain says in DNS of the certificate that is shown there; left out where it says nothing, or nobody wants to hear. */
  readonly tlsa?: readonly Tlsa[]
  /** The conf names this server or its domain: it may be at a private address. */
  readonly isAllowed?: boolean
}

/** What the conf says of a domain, in place of DNS. */
export interface ByHand { readonly host: string, readonly port: number | undefined, readonly tls: 'required' | 'direct' }

export interface Resolver {
  /** TLSA records are asked for: which certificate counts for a domain, DNS may say. */
  readonly isDane: boolean
  /**
   * The places of a domain's server, in the order in which to try them. Rejects with NoServer where DNS says that there is none, and with
   * DnsError where DNS does not say.
   */
  resolve (domain: string, byHand?: ByHand): Promise<readonly Target[]>
}

/** DNS says that this domain has no XMPP server. */
export class NoServer extends Error {}

export const SERVER_PORT = 5269
export const DIRECT_PORT = 5270
/** More records than these of one name are not looked at, nor are more addresses of one server. */
const MOST_SERVERS = 16
const MOST_ADDRESSES = 8
const MOST_TARGETS = 20

interface Place { readonly host: string, readonly port: number, readonly priority: number, readonly weight: number, readonly tls: Target['tls'], readonly secure: boolean }

export interface ResolverSettings {
  /** TLSA records are asked for, and what the DNS server says of DNSSEC is believed. */
  readonly dane?: boolean
  /** A random number below its argument. */
  readonly below?: (bound: number) => number
}

/** Asks DNS. */
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

  async #places (domain: string): Promise<readonly Place[]> {
    const literal = addressOf(domain)
    if (literal !== undefined) return [fallback(literal, true)]
    const name = asciiOf(domain)
    const [plain, direct] = await Promise.allSettled([this.#dns.query(`_xmpp-server._tcp.${name}`, 'SRV'), this.#dns.query(`_xmpps-server._tcp.${name}`, 'SRV')])
    const answers = [plain, direct].flatMap(result => result.status === 'fulfilled' ? [result.value] : [])
    if (answers.length === 0) throw plain.status === 'rejected' ? plain.reason : new DnsError('nothing')
    const places = [
      ...plain.status === 'fulfilled' ? placesIn(plain.value, 'required') : [],
      ...direct.status === 'fulfilled' ? placesIn(direct.value, 'direct') : [],
    ]
    if (places.length > 0) return inOrder(places, this.#below)
    // RFC 2782: a target of "." says that the service is decidedly not there.
    if (answers.some(answer => answer.records.length > 0)) throw new NoServer(`${domain} has no XMPP server, says DNS`)
    // RFC 6120 §3.2.2: without SRV records, the domain is its own server.
    return [fallback(name, answers.every(answer => answer.secure))]
  }

  async #targetsOf (place: Place): Promise<readonly Target[]> {
    const { port, tls, host } = place
    const literal = addressOf(host)
    if (literal !== undefined) return [{ host, address: literal, port, tls, secure: place.secure }]
    const [six, four] = await Promise.allSettled([this.#dns.query(host, 'AAAA'), this.#dns.query(host, 'A')])
    const of = (result: PromiseSettledResult<DnsAnswer>): readonly Target[] => result.status !== 'fulfilled' ? [] : result.value.records.flatMap(record =>
      (record.type === 'A' || record.type === 'AAAA') && isIP(record.data) !== 0
        ? [{ host, address: record.data, port, tls, secure: place.secure && result.value.secure }]
        : []).slice(0, MOST_ADDRESSES)
    const targets = inTurns(of(six), of(four))
    if (targets.length > 0) return await this.#certified(targets, place)
    for (const result of [six, four]) if (result.status === 'rejected') throw result.reason
    return []
  }

  /**
   * RFC 7673 §3.1, §3.2: behind a name or an address that was not checked by DNSSEC, a TLSA record would say nothing. §3.3: where it cannot
   * be found out whether there is one, this rejects, and nobody is to be trusted there.
   */
  async #certified (targets: readonly Target[], { host, port }: Place): Promise<readonly Target[]> {
    if (!this.isDane || !targets.some(({ secure }) => secure)) return targets
    const answer = await this.#dns.query(`_${port}._tcp.${host}`, 'TLSA')
    const tlsa = answer.secure ? usable(answer.records.flatMap(record => record.type === 'TLSA' ? [record.data] : [])) : []
    return tlsa.length === 0 ? targets : targets.map(target => target.secure ? { ...target, tlsa } : target)
  }
}

/** RFC 2782: lowest priority first; among equals by chance, as their weights have it. XEP-0368 §4: both kinds as if they were one. */
function inOrder (places: readonly Place[], below: (bound: number) => number): readonly Place[] {
  const ordered: Place[] = []
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

function placesIn (answer: DnsAnswer, tls: Target['tls']): readonly Place[] {
  return answer.records.slice(0, MOST_SERVERS).flatMap((record: Answer) => {
    if (record.type !== 'SRV') return []
    const { target, port, priority = 0, weight = 0 } = record.data
    const host = target.replace(/\.$/, '')
    return host === '' || port === 0 ? [] : [{ host, port, priority, weight, tls, secure: answer.secure }]
  })
}

function placeByHand ({ host, port, tls }: ByHand): Place {
  return { host: asciiOf(host), port: port ?? (tls === 'direct' ? DIRECT_PORT : SERVER_PORT), priority: 0, weight: 0, tls, secure: false }
}

function fallback (host: string, secure: boolean): Place {
  return { host, port: SERVER_PORT, priority: 0, weight: 0, tls: 'required', secure }
}

/** RFC 8305 §4: one of each family in turn, IPv6 first. */
function inTurns (six: readonly Target[], four: readonly Target[]): readonly Target[] {
  const targets: Target[] = []
  for (let at = 0; at < Math.max(six.length, four.length); at++) {
    for (const target of [six[at], four[at]]) if (target !== undefined) targets.push(target)
  }
  return targets
}

/** The name as DNS has it (RFC 5890); what cannot be one is asked for as it is, and not found. */
export function asciiOf (domain: string): string {
  return domainToASCII(domain) || domain
}

/** The IP address that a domain is, if it is one. */
export function addressOf (domain: string): string | undefined {
  const plain = domain.startsWith('[') ? domain.slice(1, -1) : domain
  return isIP(plain) === 0 ? undefined : plain
}

/** The DNS servers that the system uses. */
export function systemServers (): readonly DnsServer[] {
  return getServers().flatMap(text => serverOf(text) ?? [])
}

/** "127.0.0.1", "127.0.0.1:53", "::1" or "[::1]:53". */
export function serverOf (text: string): DnsServer | undefined {
  if (isIP(text) !== 0) return { address: text, port: 53 }
  const [, six, four, port] = /^(?:\[([^\]]+)\]|([0-9.]+))(?::(\d{1,5}))?$/.exec(text) ?? []
  const address = six ?? four
  return address === undefined || isIP(address) === 0 ? undefined : { address, port: port === undefined ? 53 : Number(port) }
}
