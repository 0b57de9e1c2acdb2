/**
 * Checks which names an authority may certify (RFC 5280 §4.2.1.10), as far as the certificates of servers are
 * concerned.
 */
import { AsnConvert } from '@peculiar/asn1-schema'
import {
  Certificate, GeneralName, id_ce_subjectAltName, NameConstraints, SubjectAlternativeName, type GeneralSubtree,
} from '@peculiar/asn1-x509'
import { domainOf, asciiOf } from '../ground/domain.js'
import { namesOf } from './certificate-names.js'

/** The names in a certificate, as constraints need them. */
export interface ConstrainedNames {
  /** Names of servers: DNS names, and the domains of SRV names and XMPP addresses; in ASCII and lower case. */
  readonly domains: readonly string[]
  /** The kinds of names that occur, including that of the subject, as ASN.1 calls them, such as "iPAddress". */
  readonly kinds: ReadonlySet<string>
}

const KINDS = [
  'otherName', 'rfc822Name', 'dNSName', 'x400Address', 'directoryName', 'ediPartyName', 'uniformResourceIdentifier',
  'iPAddress', 'registeredID',
] as const
const EMAIL = '1.2.840.113549.1.9.1'
/** The most subtrees of one authority. Each is compared with each name. */
const MOST_SUBTREES = 200

/** Returns the names in a certificate. Throws if they cannot be read. */
export function constrainedNamesOf (der: Uint8Array): ConstrainedNames {
  const { dns, srv, xmpp } = namesOf(der)
  const { subject, extensions } = AsnConvert.parse(der, Certificate).tbsCertificate
  const kinds = new Set<string>()
  for (const { extnID, extnValue } of extensions === undefined ? [] : [...extensions]) {
    if (extnID !== id_ce_subjectAltName) continue
    for (const name of AsnConvert.parse(extnValue, SubjectAlternativeName)) kinds.add(kindOf(name))
  }
  if (subject.length > 0) kinds.add('directoryName')
  if (subject.some(part => part.some(({ type }) => type === EMAIL))) kinds.add('rfc822Name')
  const domains = [...dns, ...srv, ...xmpp.flatMap(text => domainOf(text) ?? [])]
  return { domains: domains.map(domain => plain(asciiOf(domain))), kinds }
}

/**
 * True if the value of the extension allows all of the names. DNS constraints also hold for SRV names and XMPP
 * addresses, because all three name a server here. Names of other kinds are not compared: if an authority has a
 * constraint on a kind, a certificate with any name of this kind is not allowed.
 */
export function allows (value: ArrayBuffer, { domains, kinds }: ConstrainedNames): boolean {
  const { permittedSubtrees, excludedSubtrees } = AsnConvert.parse(value, NameConstraints)
  const [permitted, excluded] = [listOf(permittedSubtrees), listOf(excludedSubtrees)]
  const all = [...permitted, ...excluded]
  if (all.length === 0 || all.length > MOST_SUBTREES) return false
  // RFC 5280 §4.2.1.10: minimum is 0, and there is no maximum.
  if (all.some(({ minimum, maximum }) => minimum !== 0 || maximum !== undefined)) return false
  if (all.some(({ base }) => base.dNSName === undefined && kinds.has(kindOf(base)))) return false
  const [inside, outside] = [basesOf(permitted), basesOf(excluded)]
  return domains.every(domain =>
    (inside.length === 0 || inside.some(base => isWithin(domain, base))) && !outside.some(base => meets(domain, base)))
}

function listOf (subtrees: Iterable<GeneralSubtree> | undefined): readonly GeneralSubtree[] {
  return subtrees === undefined ? [] : [...subtrees]
}

function basesOf (subtrees: readonly GeneralSubtree[]): readonly string[] {
  return subtrees.flatMap(({ base }) => base.dNSName === undefined ? [] : [plain(base.dNSName)])
}

/** True if a name is the base or has labels in front of it. A base that begins with a dot needs at least one label. */
function isWithin (domain: string, base: string): boolean {
  return base === '' || domain === base || domain.endsWith(base.startsWith('.') ? base : `.${base}`)
}

/** True if `isWithin`, or if one of the names that a wildcard covers is within the base. */
function meets (domain: string, base: string): boolean {
  if (isWithin(domain, base)) return true
  if (!domain.startsWith('*.')) return false
  return isWithin(base.replace(/^\./, ''), domain.slice(2))
}

function plain (name: string): string { return name.toLowerCase().replace(/\.$/, '') }

function kindOf (name: GeneralName): string {
  return KINDS.find(kind => name[kind] !== undefined) ?? 'unknown'
}
