/** IP addresses as limits count them. */
import ipaddr from 'ipaddr.js'

/** An IPv4 address itself; of an IPv6 address its /64, for that is what one customer has. What is no IP address stands for itself. */
export function networkOf (address: string): string {
  const [plain = address] = address.split('%', 1)
  if (!ipaddr.isValid(plain)) return address
  const parsed = ipaddr.process(plain)
  if (!(parsed instanceof ipaddr.IPv6)) return parsed.toString()
  return `${parsed.parts.slice(0, 4).map(part => part.toString(16)).join(':')}::/64`
}
