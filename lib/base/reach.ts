/** Tells public IP addresses from those of one machine or network (RFC 6890, the IANA registries). */
import { networkInterfaces } from 'node:os'
import ipaddr from 'ipaddr.js'

type Parsed = ipaddr.IPv4 | ipaddr.IPv6
type Range = readonly [Parsed, number]

/** Special-purpose IPv4 addresses, with a word for the operator. */
const SPECIAL_IPV4: readonly (readonly [range: string, word: string])[] = [
  ['0.0.0.0/8', 'an unspecified'], // RFC 1122 §3.2.1.3: Linux connects 0.0.0.0 to itself
  ['10.0.0.0/8', 'a private'], // RFC 1918
  ['100.64.0.0/10', 'a shared'], // RFC 6598: carrier NAT
  ['127.0.0.0/8', 'a loopback'],
  ['169.254.0.0/16', 'a link-local'], // RFC 3927; clouds serve credentials there
  ['172.16.0.0/12', 'a private'],
  ['192.0.0.0/24', 'a reserved'], // RFC 6890
  ['192.0.2.0/24', 'a documentation'], // RFC 5737
  ['192.88.99.0/24', 'a reserved'], // RFC 7526
  ['192.168.0.0/16', 'a private'],
  ['198.18.0.0/15', 'a benchmarking'], // RFC 2544
  ['198.51.100.0/24', 'a documentation'],
  ['203.0.113.0/24', 'a documentation'],
  ['224.0.0.0/4', 'a multicast'],
  ['240.0.0.0/4', 'a reserved'], // RFC 1112 §4, and 255.255.255.255, the broadcast
]

/** Special-purpose IPv6 addresses. Addresses outside of 2000::/3 that are not listed here are reserved. */
const SPECIAL_IPV6: readonly (readonly [range: string, word: string])[] = [
  ['::/128', 'an unspecified'],
  ['::1/128', 'a loopback'],
  ['64:ff9b:1::/48', 'a private'], // RFC 8215: translation within a network
  ['fc00::/7', 'a private'], // RFC 4193
  ['fe80::/10', 'a link-local'],
  ['fec0::/10', 'a private'], // RFC 3879: site-local
  ['ff00::/8', 'a multicast'],
  ['2001::/32', 'a tunnel'], // RFC 4380: Teredo, which may carry any IPv4 address
  ['2001::/23', 'a reserved'], // RFC 2928
  ['2001:db8::/32', 'a documentation'],
  ['3fff::/20', 'a documentation'], // RFC 9637
]

/**
 * Ranges that carry an IPv4 address, and the byte at which it begins: mapped (RFC 4291 §2.5.5.2), NAT64 (RFC 6052
 * §2.1), 6to4 (RFC 3056 §2).
 */
const EMBEDDING: readonly (readonly [range: string, at: number])[] = [
  ['::ffff:0:0/96', 12], ['64:ff9b::/96', 12], ['2002::/16', 2],
]

const IPV4 = SPECIAL_IPV4.map(([range, word]) => ({ range: parsedRange(range), word }))
const IPV6 = SPECIAL_IPV6.map(([range, word]) => ({ range: parsedRange(range), word }))
const CARRIERS = EMBEDDING.map(([range, at]) => ({ range: parsedRange(range), at }))
const GLOBAL = parsedRange('2000::/3') // RFC 4291 §2.4

/**
 * Returns why an address is not public: a word such as "a private" or "a loopback". Undefined for a public address; "an
 * unknown" if the text is no IP address.
 */
export function specialKindOf (address: string): string | undefined {
  const parsed = parsedAddress(address)
  return parsed === undefined ? 'an unknown' : kindOf(parsed)
}

function kindOf (address: Parsed): string | undefined {
  if (address instanceof ipaddr.IPv4) return IPV4.find(({ range }) => isIn(address, range))?.word
  const inner = carriedBy(address)
  if (inner !== undefined) return kindOf(inner)
  const special = IPV6.find(({ range }) => isIn(address, range))
  if (special !== undefined) return special.word
  return isIn(address, GLOBAL) ? undefined : 'a reserved'
}

/** IP ranges from the conf: "10.0.0.0/8", "fd00::/8", or one address. */
export class Ranges {
  readonly #ranges: readonly Range[]

  /** Throws RangeError if a text is no range. */
  constructor (texts: readonly string[] = []) {
    this.#ranges = texts.map(text => {
      const range = rangeIn(text)
      if (range === undefined) throw new RangeError(`${text} is not a range of IP addresses`)
      return range
    })
  }

  /** True if the address, or the IPv4 address that it carries, is in one of the ranges. */
  has (address: string): boolean {
    return formsOf(address).some(form => this.#ranges.some(range => isIn(form, range)))
  }
}

/** True if the text is a range of IP addresses, or one address. */
export function isRange (text: string): boolean { return rangeIn(text) !== undefined }

/** True if both texts mean the same IP address, in any notation, also if one carries the other. */
export function isSameAddress (one: string, other: string): boolean {
  const others = formsOf(other).map(String)
  return formsOf(one).some(form => others.includes(form.toString()))
}

/** True if a listener at this address uses all addresses of the machine: "0.0.0.0" or "::". */
export function isUnspecified (address: string): boolean {
  return parsedAddress(address)?.range() === 'unspecified'
}

/** The current addresses of this machine's network interfaces. */
export function interfaceAddresses (): readonly string[] {
  return Object.values(networkInterfaces()).flatMap(all => all ?? []).map(({ address }) => address)
}

function isIn (address: Parsed, [base, bits]: Range): boolean {
  if (address instanceof ipaddr.IPv4) return base instanceof ipaddr.IPv4 && address.match(base, bits)
  return base instanceof ipaddr.IPv6 && address.match(base, bits)
}

/** Returns the address itself, and the IPv4 address that it carries. */
function formsOf (address: string): readonly Parsed[] {
  const parsed = parsedAddress(address)
  if (parsed === undefined) return []
  const inner = parsed instanceof ipaddr.IPv6 ? carriedBy(parsed) : undefined
  return inner === undefined ? [parsed] : [parsed, inner]
}

function carriedBy (address: ipaddr.IPv6): ipaddr.IPv4 | undefined {
  const carrier = CARRIERS.find(({ range }) => isIn(address, range))
  return carrier === undefined ? undefined : new ipaddr.IPv4(address.toByteArray().slice(carrier.at, carrier.at + 4))
}

/**
 * Parses an IP address. Only four decimal numbers count as IPv4: "127.1" and "0x7f000001" are names here, and no
 * addresses.
 */
function parsedAddress (address: string): Parsed | undefined {
  if (ipaddr.IPv4.isValidFourPartDecimal(address)) return ipaddr.IPv4.parse(address)
  if (address.includes('%') || !ipaddr.IPv6.isValid(address)) return undefined
  // RFC 4291 §2.5.5.1: "::10.0.0.1" is ::a00:1. The library reads ::ffff:10.0.0.1, which is not the address that the
  // system connects to.
  const compatible = /^::(\d+\.\d+\.\d+\.\d+)$/.exec(address)?.[1]
  if (compatible === undefined) return ipaddr.IPv6.parse(address)
  return new ipaddr.IPv6([...new Array<number>(12).fill(0), ...ipaddr.IPv4.parse(compatible).octets])
}

function rangeIn (text: string): Range | undefined {
  const [address = '', bits, ...more] = text.split('/')
  const parsed = parsedAddress(address)
  if (parsed === undefined || more.length > 0) return undefined
  const most = parsed instanceof ipaddr.IPv4 ? 32 : 128
  if (bits === undefined) return [parsed, most]
  return /^\d{1,3}$/.test(bits) && Number(bits) <= most ? [parsed, Number(bits)] : undefined
}

function parsedRange (text: string): Range {
  const range = rangeIn(text)
  if (range === undefined) throw new RangeError(text)
  return range
}
