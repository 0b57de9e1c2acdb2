/** Compares the SRV records that clients and other servers need (RFC 6120 §3.2, XEP-0368) with those in DNS now. */

import { isIP } from 'node:net'

/** True unless the domain is an IP address. */
export function hasSubdomains (domain: string): boolean { return isIP(domain.replace(/^\[|\]$/g, '')) === 0 }

/** Queries to DNS. Both reject with an error that has a `code`, such as ENOTFOUND or ETIMEOUT. */
export interface Resolver {
  srv (name: string): Promise<readonly SrvRecord[]>
  /** Returns the IP addresses of a name, IPv4 and IPv6. */
  addresses (name: string): Promise<readonly string[]>
}

/** One SRV record (RFC 2782). `name` is its target. */
export interface SrvRecord {
  readonly name: string
  readonly port: number
  readonly priority: number
  readonly weight: number
}

/** One record: how to write it, what DNS has now, and what is wrong with that. */
export interface RecordLine { readonly record: string, readonly today: string, readonly verdict: string }

/** A port that clients or other servers connect to. Those of the web have no SRV record. */
export interface Offered { readonly for: 'clients' | 'servers' | 'web' | 'components' | 'monitors', readonly tls: 'required' | 'direct' | 'none', readonly port: number }

/** The most queries that are open at a time. */
const AT_ONCE = 8

/**
 * Returns a line for each record of each domain, in order. No client connects to those of `services`. If DNS does not
 * answer, each group of AT_ONCE records takes the resolver's timeout.
 */
export async function dnsRecords (
  domains: readonly string[], offered: readonly Offered[], resolver: Resolver,
  services: ReadonlySet<string> = new Set(),
): Promise<readonly RecordLine[]> {
  const doors = offered.filter(({ for: whom, tls, port }) => (whom === 'clients' || whom === 'servers') && tls !== 'none' && port !== 0)
    .map(({ for: whom, tls, port }) => ({ whom, prefix: `${tls === 'direct' ? '_xmpps' : '_xmpp'}-${whom === 'clients' ? 'client' : 'server'}`, port }))
  const once = new Map(doors.map(door => [`${door.prefix} ${door.port}`, door]))
  const wanted = domains.flatMap(domain => [...once.values()]
    .filter(({ whom }) => whom === 'servers' || !services.has(domain))
    .map(({ prefix, port }) => ({ name: `${prefix}._tcp.${domain}`, domain, port })))
  const lines: RecordLine[] = []
  for (let from = 0; from < wanted.length; from += AT_ONCE) {
    const group = wanted.slice(from, from + AT_ONCE)
    lines.push(...await Promise.all(group.map(one => lineOf(one.name, one.domain, one.port, resolver))))
  }
  return lines
}

async function lineOf (name: string, domain: string, port: number, resolver: Resolver): Promise<RecordLine> {
  const record = `${name}. 3600 IN SRV 5 0 ${port} ${domain}.`
  try {
    const found = await resolver.srv(name)
    const today = found.map(({ priority, weight, port, name }) => `${priority} ${weight} ${port} ${name}.`).join(', ')
    return { record, today: today === '' ? 'nothing' : today, verdict: await verdictOn(found, port, resolver) }
  } catch (error) {
    const code = codeOf(error)
    return { record, today: `nothing (${code})`, verdict: NOT_THERE.has(code) ? 'missing' : 'DNS did not answer' }
  }
}

const NOT_THERE: ReadonlySet<string> = new Set(['ENOTFOUND', 'ENODATA'])

async function verdictOn (found: readonly SrvRecord[], port: number, resolver: Resolver): Promise<string> {
  const here = found.find(record => record.port === port)
  if (found.length === 0) return 'missing'
  // RFC 2782: the target "." says that the domain does not offer this service.
  if (found.every(({ name }) => name === '' || name === '.')) return 'says that there is no such service'
  if (here === undefined) return `no record for port ${port}`
  try {
    return (await resolver.addresses(here.name)).length > 0 ? 'fine' : `${here.name} has no address`
  } catch (error) {
    return NOT_THERE.has(codeOf(error)) ? `${here.name} has no address` : 'DNS did not answer'
  }
}

function codeOf (error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'failed'
}
