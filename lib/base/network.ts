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

function head (address: ipaddr.IPv6, parts: number): string {
  return address.parts.slice(0, parts).map(part => part.toString(16)).join(':')
}
