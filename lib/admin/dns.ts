/** The SRV records that clients and other servers need to find the server (RFC 6120 §3.2, XEP-0368), and what DNS says of them today. */

/** What DNS is asked; either rejects with an error that has a `code`, such as ENOTFOUND or ETIMEOUT. */
export interface Resolver {
  srv (name: string): Promise<readonly SrvRecord[]>
  /** The IP addresses of a name, of either family. */
  addresses (name: string): Promise<readonly string[]>
}

export interface SrvRecord { readonly name: string, readonly port: number, readonly priority: number, readonly weight: number }

/** One record: how to write it, what is there, and what is wrong with that. */
export interface RecordLine { readonly record: string, readonly today: string, readonly verdict: string }

/** What clients or other servers connect to. */
export interface Offered { readonly for: 'clients' | 'servers', readonly tls: 'required' | 'direct' | 'none', readonly port: number }

/** Questions that are open at a time. */
const AT_ONCE = 8

/** A line for each record of each domain, in order. However many do not answer, the time is bounded by the resolver's. */
export async function dnsRecords (
  domains: readonly string[], offered: readonly Offered[], resolver: Resolver,
): Promise<readonly RecordLine[]> {
  const services = offered.filter(({ tls, port }) => tls !== 'none' && port !== 0)
    .map(({ for: whom, tls, port }) => ({ prefix: `${tls === 'direct' ? '_xmpps' : '_xmpp'}-${whom === 'clients' ? 'client' : 'server'}`, port }))
  const once = new Map(services.map(service => [`${service.prefix} ${service.port}`, service]))
  const wanted = domains.flatMap(domain => [...once.values()].map(({ prefix, port }) => ({ name: `${prefix}._tcp.${domain}`, domain, port })))
  const lines: RecordLine[] = []
  for (let from = 0; from < wanted.length; from += AT_ONCE) {
    lines.push(...await Promise.all(wanted.slice(from, from + AT_ONCE).map(one => lineOf(one.name, one.domain, one.port, resolver))))
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
  // RFC 2782: a single "." says that there is no such service.
  if (found.every(({ name }) => name === '' || name === '.')) return 'says that there is no such service'
  if (here === undefined) return `none leads to port ${port}`
  try {
    return (await resolver.addresses(here.name)).length > 0 ? 'fine' : `${here.name} has no address`
  } catch (error) {
    return NOT_THERE.has(codeOf(error)) ? `${here.name} has no address` : 'DNS did not answer'
  }
}

function codeOf (error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'failed'
}
