/** TLSA records: which certificate a domain names in DNS for its server (RFC 6698). */
import type { TlsaData } from 'dns-packet'

/** The content of a TLSA record (RFC 6698 §2.1). */
export type Tlsa = TlsaData

/** The certificate usage "domain-issued certificate": the record names the server's own (RFC 6698 §2.1.1). */
export const DANE_EE = 3

/**
 * RFC 6698 §2.1.3, matching types: the hash that the record holds, and its length in bytes. The first is no hash, of
 * any length.
 */
export const HASHES = [undefined, { name: 'sha256', bytes: 32 }, { name: 'sha512', bytes: 64 }] as const

/** The most records of one name that are looked at. */
const MOST = 16

/**
 * Returns the records that are understood. RFC 7671 §4.1: if there are none, the domain counts as one without records.
 */
export function understoodRecords (records: readonly Tlsa[]): readonly Tlsa[] {
  return records.slice(0, MOST).filter(({ usage, selector, matchingType, certificate }) => {
    if (usage > DANE_EE || selector > 1 || matchingType >= HASHES.length) return false
    const hash = HASHES[matchingType]
    return hash === undefined ? certificate.length > 0 : certificate.length === hash.bytes
  })
}
