/** EXTERNAL (RFC 4422 appendix A) with client certificates, as in XEP-0178. */
import { AsnConvert } from '@peculiar/asn1-schema'
import { Certificate, id_ce_subjectAltName, SubjectAlternativeName } from '@peculiar/asn1-x509'
import { strictText } from './base64.js'
import { SaslFault } from './fault.js'
import { addressOf, admitted } from './identity.js'
import type { Accounts } from './accounts.js'
import type { Exchange, MechanismContext } from './mechanism.js'
import type { Jid } from '../xmpp/jid.js'

export function external ({ accounts, certificate, admit }: MechanismContext): Exchange {
  return async message => {
    const certified = certificate === undefined ? [] : certifiedAccounts(certificate, accounts)
    const account = chosen(identityOf(message), certified)
    await admit?.(account)
    return { kind: 'success', account: await admitted(account, accounts) }
  }
}

/**
 * Returns the accounts of this host that a certificate names, by its XmppAddr names only, never by its subject (RFC
 * 6120 §13.7.1.4, RFC 9525).
 */
export function certifiedAccounts (certificate: Uint8Array, accounts: Accounts): readonly Jid[] {
  const found = new Map<string, Jid>()
  for (const text of xmppAddresses(certificate)) {
    const address = addressOf(text)
    if (address?.domain !== accounts.domain || address.local === '' || address.resource !== '') continue
    found.set(address.local, address)
  }
  return [...found.values()]
}

/** The object identifier of XmppAddr (RFC 6120 §13.7.1.4). */
const XMPP_ADDRESS = '1.3.6.1.5.5.7.8.5'
/** The most names that are read in a certificate. */
const MOST_NAMES = 64
const MOST_BYTES = 3100

/**
 * Returns the XmppAddr names of a certificate, unchanged. Empty if it is no certificate, has the extension twice, or
 * too many names.
 */
export function xmppAddresses (certificate: Uint8Array): readonly string[] {
  const names = alternativeNames(certificate)
  if (names.length > MOST_NAMES) return []
  return names.flatMap(({ otherName }) => {
    const text = otherName?.typeId === XMPP_ADDRESS ? utf8String(new Uint8Array(otherName.value)) : undefined
    return text === undefined ? [] : [text]
  })
}

function alternativeNames (certificate: Uint8Array): SubjectAlternativeName | readonly [] {
  try {
    const { extensions } = AsnConvert.parse(certificate, Certificate).tbsCertificate
    const [extension, second] = extensions?.filter(({ extnID }) => extnID === id_ce_subjectAltName) ?? []
    // RFC 5280 §4.2: no extension may occur twice.
    if (extension === undefined || second !== undefined) return []
    return AsnConvert.parse(extension.extnValue, SubjectAlternativeName)
  } catch {
    // DER that cannot be parsed names nobody.
    return []
  }
}

/**
 * Reads a DER UTF8String of exactly its length. Returns undefined for any other type, for bytes that are not UTF-8, and
 * for control characters such as NUL. Parsed here because the library reads bytes that are not UTF-8 as Latin-1.
 */
function utf8String (bytes: Uint8Array): string | undefined {
  const [tag, first = 0, second = 0, third = 0] = bytes
  const [head, length] = first < 0x80
    ? [2, first]
    : first === 0x81 && second >= 0x80
      ? [3, second]
      : first === 0x82 && second > 0 ? [4, second * 256 + third] : [0, -1]
  if (tag !== 0x0c || length === 0 || length > MOST_BYTES || bytes.length !== head + length) return undefined
  const text = strictText(bytes.subarray(head))
  return text === undefined || /\p{Cc}/u.test(text) ? undefined : text
}

function identityOf (message: Uint8Array): string {
  const text = message.length > MOST_BYTES ? undefined : strictText(message)
  if (text === undefined || text.includes('\0')) {
    throw new SaslFault('malformed-request', 'malformed authorization identity')
  }
  return text
}

/** XEP-0178 §2 step 11: chooses the account in the certificate that the client asks for. Throws SaslFault. */
function chosen (identity: string, certified: readonly Jid[]): Jid {
  const [only, second] = certified
  if (only === undefined) throw new SaslFault('not-authorized', 'the certificate names no account of this host')
  if (identity === '') {
    if (second !== undefined) {
      throw new SaslFault('invalid-authzid', 'the certificate names several accounts: request one of them')
    }
    return only
  }
  const wanted = addressOf(identity)
  const account = wanted === undefined ? undefined : certified.find(account => account.equals(wanted))
  if (account === undefined) throw new SaslFault('invalid-authzid', 'the certificate does not name this address')
  return account
}
