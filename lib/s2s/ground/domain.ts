/** Names and addresses of domains. */
import { isIP } from 'node:net'
import { domainToASCII } from 'node:url'
import { JidError, parseJid } from '../../xmpp/jid.js'

/** Returns the name as it is in DNS (RFC 5890). An impossible name is returned unchanged, and DNS will not find it. */
export function asciiOf (domain: string): string {
  return domainToASCII(domain) || domain
}

/** Returns the IP address that a domain is; undefined if it is none. */
export function addressOf (domain: string): string | undefined {
  const plain = domain.startsWith('[') ? domain.slice(1, -1) : domain
  return isIP(plain) === 0 ? undefined : plain
}

/** Returns a domain, prepared; undefined if the text is not a domain. */
export function domainOf (text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  try {
    const jid = parseJid(text)
    return jid.local === '' && jid.resource === '' ? jid.domain : undefined
  } catch (error) {
    if (error instanceof JidError) return undefined
    throw error
  }
}
