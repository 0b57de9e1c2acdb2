/** Who calls: the client's address, and whether it uses TLS, also if reverse proxies are between (RFC 7239). */
import type { IncomingHttpHeaders } from 'node:http'
import { isIP } from 'node:net'
import type { Ranges } from '../base/reach.js'
import { plainAddress, type TlsInfo } from '../stream/transport.js'

export interface Caller {
  /** The IP address as text. IPv4 is never written as IPv6. */
  readonly address: string
  /** True if what the client sends is encrypted, or comes from this machine itself. */
  readonly isSecure: boolean
  /** The facts about TLS, here or at a proxy; undefined if there is none. No login is bound to it. */
  readonly tls: TlsInfo | undefined
}

/** The header in which the proxies say for whom they call. Only one is read: a client may forge the other. */
export type ForwardedHeader = 'x-forwarded-for' | 'forwarded'

export interface Proxies {
  /** The addresses of reverse proxies whose word is taken. */
  readonly ranges: Ranges
  readonly header: ForwardedHeader
}

/** One proxy's word: for whom it calls, and how that one has connected. */
interface Hop { readonly address: string | undefined, readonly protocol: string | undefined }

/** The most hops that are looked at. */
const MOST_HOPS = 20

/**
 * Returns the caller of a request. `peer`: the address that has connected. Each proxy adds its word at the end, so the
 * hops are read from the last one, and only as far as the proxies are listed.
 */
export function callerOf (
  peer: string, tls: TlsInfo | undefined, headers: IncomingHttpHeaders, { ranges, header }: Proxies,
): Caller {
  const direct = { address: peer, isSecure: tls !== undefined || isLoopback(peer), tls }
  if (!ranges.has(peer)) return direct
  const hops = header === 'forwarded' ? forwarded(headers) : xForwarded(headers)
  let found: Hop | undefined
  for (const hop of hops.slice(-MOST_HOPS).reverse()) {
    if (hop.address === undefined) break
    found = hop
    if (!ranges.has(hop.address)) break
  }
  if (found?.address === undefined) return direct
  const isSecure = found.protocol === 'https' || found.protocol === 'wss'
  return { address: found.address, isSecure, tls: isSecure ? AT_PROXY : undefined }
}

/** TLS that ends at a proxy, of which nothing more is known. */
const AT_PROXY: TlsInfo = {
  protocol: null,
  cipher: '',
  alpn: undefined,
  certificate: new Uint8Array(),
  peerCertificates: [],
  authorized: false,
  isUnbound: true,
  exporter: () => { throw new Error('TLS ends at the proxy') },
}

/** RFC 7239 §4: `for=192.0.2.43;proto=https, for="[2001:db8::1]:4711"`. */
function forwarded (headers: IncomingHttpHeaders): readonly Hop[] {
  const text = headers['forwarded']
  return text === undefined ? [] : splitOutsideQuotes(text, ',').map(element => {
    const pairs = new Map(splitOutsideQuotes(element, ';').map(pair => {
      const [name = '', ...value] = pair.split('=')
      return [name.trim().toLowerCase(), unquoted(value.join('=').trim())]
    }))
    return { address: addressIn(pairs.get('for')), protocol: pairs.get('proto')?.toLowerCase() }
  })
}

/** X-Forwarded-For has the addresses, X-Forwarded-Proto one protocol, or one for each address. */
function xForwarded (headers: IncomingHttpHeaders): readonly Hop[] {
  const addresses = listIn(headers['x-forwarded-for'])
  const protocols = listIn(headers['x-forwarded-proto']).map(text => text.toLowerCase())
  const isPaired = protocols.length === addresses.length
  return addresses.map((text, index) => ({
    address: addressIn(text),
    protocol: isPaired ? protocols[index] : protocols.at(-1),
  }))
}

function listIn (header: string | string[] | undefined): readonly string[] {
  const text = Array.isArray(header) ? header.join(',') : header ?? ''
  return text === '' ? [] : text.split(',').map(item => item.trim())
}

/** Returns an IP address that may have a port, and if IPv6 brackets; undefined for anything else, such as "unknown". */
function addressIn (text: string | undefined): string | undefined {
  const [, six, four] = /^(?:\[([0-9a-f:.]+)\](?::\d{1,5})?|([0-9.]+)(?::\d{1,5})?)$/i.exec(text ?? '') ?? []
  const address = six ?? four ?? text ?? ''
  return isIP(address) === 0 ? undefined : plainAddress(address)
}

/** Splits at each separator that is not within quotes, in one pass. Returns nothing if a quote does not end. */
function splitOutsideQuotes (text: string, separator: ',' | ';'): readonly string[] {
  const parts: string[] = []
  let from = 0
  let isQuoted = false
  for (let at = 0; at < text.length; at++) {
    const character = text[at]
    if (isQuoted && character === '\\') at++
    else if (character === '"') isQuoted = !isQuoted
    else if (character === separator && !isQuoted) {
      parts.push(text.slice(from, at))
      from = at + 1
    }
  }
  return isQuoted ? [] : [...parts, text.slice(from)]
}

function unquoted (text: string): string {
  const isQuoted = text.length > 1 && text.startsWith('"') && text.endsWith('"')
  return isQuoted ? text.slice(1, -1).replace(/\\(.)/g, '$1') : text
}

/** True for an address of this machine. */
export function isLoopback (address: string): boolean {
  return address === '::1' || address.startsWith('127.')
}
