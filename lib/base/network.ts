/** The networks that limits count by. */
import ipaddr from 'ipaddr.js'

/**
 * Returns an IPv4 address itself, and the /64 of an IPv6 address, because one customer has a /64. Another text is
 * returned unchanged.
 */
export function networkOf (address: string): string {
  const [plain = address] = address.split('%', 1)
  if (!ipaddr.isValid(plain)) return address
  const parsed = ipaddr.process(plain)
  if (!(parsed instanceof ipaddr.IPv6)) return parsed.toString()
  return `${head(parsed, 4)}::/64`
}

/** Returns the addresses of probably the same provider: an IPv4 address's /24, an IPv6 address's /48. */
export function neighbourhoodOf (address: string): string {
  const [plain = address] = address.split('%', 1)
  if (!ipaddr.isValid(plain)) return address
  const parsed = ipaddr.process(plain)
  if (!(parsed instanceof ipaddr.IPv6)) return `${parsed.octets.slice(0, 3).join('.')}.0/24`
  return `${head(parsed, 3)}::/48`
}

/**
 * Returns the registered domain: its owner can make any number of subdomains, so they count as one. Takes the last two
 * labels, or three if the last two are short, as in co.uk, where strangers are neighbours. An IP address is returned
 * unchanged.
 */
export function siteOf (domain: string): string {
  if (ipaddr.isValid(domain.replace(/^\[|\]$/g, ''))) return domain
  const labels = domain.split('.')
  const [second = '', top = ''] = labels.slice(-2)
  return labels.slice(top.length <= 2 && second.length <= 3 ? -3 : -2).join('.')
}

function head (address: ipaddr.IPv6, parts: number): string {
  return address.parts.slice(0, parts).map(part => part.toString(16)).join(':')
}
