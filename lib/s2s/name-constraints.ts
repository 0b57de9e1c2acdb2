/** Which names an authority may certify (RFC 5280 §4.2.1.10), as far as a server's certificate is concerned. */
import { AsnConvert } from '@peculiar/asn1-schema'
import { Certificate, GeneralName, id_ce_subjectAltName, NameConstraints, SubjectAlternativeName, type GeneralSubtree } from '@peculiar/asn1-x509'
import { domainOf } from './dialback.js'
import { asciiOf } from './resolve.js'
import { namesOf } from './trust.js'

/** The names of a certificate, as constraints look at them. */
export interface ConstrainedNames {
  /** What may stand for a server: DNS names, and the domains of SRV names and XMPP addresses; ASCII, in lower case. */
  readonly domains: readonly string[]
  /** The kinds of names that it has, by their names in ASN.1, such as "iPAddress"; that of its subject included. */
  readonly kinds: ReadonlySet<string>
}

const KINDS = [
  'otherName', 'rfc822Name', 'dNSName', 'x400Address', 'directoryName', 'ediPartyName', 'uniformResourceIdentifier', 'iPAddress', 'registeredID',
] as const
const EMAIL = '1.2.840.113549.1.9.1'
/** Subtrees of one authority, each of which is compared with each name. */
const MOST_SUBTREES = 200

/** The names in a certificate. Throws if they cannot be read. */
export function constrainedNamesOf (der: Uint8Array): ConstrainedNames {
  const { dns, srv, xmpp } = namesOf(der)
  const { subject, extensions } = AsnConvert.parse(der, Certificate).tbsCertificate
  const kinds = new Set<string>()
  for (const { extnID, extnValue } of extensions === undefined ? [] : [...extensions]) {
    if (extnID === id_ce_subjectAltName) for (const name of AsnConvert.parse(extnValue, SubjectAlternativeName)) kinds.add(kindOf(name))
  }
  if (subject.length > 0) kinds.add('directoryName')
  if (subject.some(part => part.some(({ type }) => type === EMAIL))) kinds.add('rfc822Name')
  return { domains: [...dns, ...srv, ...xmpp.flatMap(text => domainOf(text) ?? [])].map(domain => plain(asciiOf(domain))), kinds }
}

/**
 * Whether the extension's value allows all of the names. DNS constraints hold for SRV names and XMPP addresses too: to us all three name a
 * server. Of other kinds no name is compared: if the authority is constrained in a kind, a certificate with a name of it is not allowed.
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

/** Whether a name is the base, or has labels in front of it. A base that begins with a dot wants at least one. */
function isWithin (domain: string, base: string): boolean {
  return base === '' || domain === base || domain.endsWith(base.startsWith('.') ? base : `.${base}`)
}

/** The same, and whether one of the names for which a wildcard stands is within the base. */
function meets (domain: string, base: string): boolean {
  if (isWithin(domain, base)) return true
  if (!domain.startsWith('*.')) return false
  return isWithin(base.replace(/^\./, ''), domain.slice(2))
}

function plain (name: string): string { return name.toLowerCase().replace(/\.$/, '') }

function kindOf (name: GeneralName): string {
  return KINDS.find(kind => name[kind] !== undefined) ?? 'unknown'
}
