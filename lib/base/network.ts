/** IP addresses as limits count them. */
import ipaddr from 'ipaddr.js'

/** An IPv4 address itself; of an IPv6 address its /64, for that is what one customer has. What is no IP address stands for itself. */
export function networkOf (address: string): string {
  const [plain = address] = address.split('%', 1)
  if (!ipaddr.isValid(plain)) return address
  const parsed = ipaddr.process(plain)
  if (!(parsed instanceof ipaddr.IPv6)) return parsed.toString()
  return `${head(parsed, 4)}::/64`
}

/** Those behind the same provider, as far as an address says that: an IPv4 address's /24, an IPv6 address's /48. */
export function neighbourhoodOf (address: string): string {
  const [plain = address] = address.split('%', 1)
  if (!ipaddr.isValid(plain)) return address
  const parsed = ipaddr.process(plain)
  if (!(parsed instanceof ipaddr.IPv6)) return `${parsed.octets.slice(0, 3).join('.')}.0/24`
  return `${head(parsed, 3)}::/48`
}

/**
 * The domain that somebody has registered: those under it are theirs, as many as they like, and count as one. The last two labels, or three
 * under two short ones, as in co.uk, where strangers are neighbours. An IP address stands for itself.
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
