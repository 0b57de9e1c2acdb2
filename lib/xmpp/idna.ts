/** Domains (RFC 7622 §3.2): IDNA2008 names as U-labels (RFC 5890 to RFC 5895), IPv4 and IPv6 literals. */
import ipaddr from 'ipaddr.js'
import { toASCII, toUnicode } from 'tr46'
import { checkContexts } from './context.js'
import { lowerCase, narrow } from './mapping.js'
import { CONTEXTUAL, disallowed, EXCEPTIONALLY_DISALLOWED, EXCEPTIONALLY_VALID, LETTER_OR_DIGIT } from './precis.js'
import { PrepError } from './prep-error.js'

/**
 * Prepares a domain for comparison: U-labels in lower case without a dot at the end, or an IP address. Throws
 * PrepError.
 */
export function idnaDomain (text: string): string {
  if (text.startsWith('[')) return literal(text)
  const mapped = ASCII.test(text) ? text.toLowerCase() : map(text)
  const name = mapped.endsWith('.') ? mapped.slice(0, -1) : mapped
  if (name === '') throw new PrepError('is empty')
  if (name.length > 2 * LONGEST_NAME) throw new PrepError('is too long')
  if (PLAIN.test(name)) {
    if (name.length > LONGEST_NAME || LONG_LABEL.test(name)) throw new PrepError('is too long')
    return FOUR_NUMBERS.test(name) ? checkedIpv4(name) : name
  }
  return international(name)
}

const ASCII = /^[\0-\x7f]*$/
/**
 * RFC 1035 §2.3.4, without the last dot. The limit applies to A-labels; a U-label never has more characters than its
 * A-label, and a character has at most two UTF-16 units.
 */
const LONGEST_NAME = 253
const LONG_LABEL = /[^.]{64}/
/** Letters, digits and hyphens, without a hyphen at an end of a label (RFC 952, RFC 1123), and without A-labels. */
const PLAIN = /^(?!xn--)[a-z0-9](?:-*[a-z0-9])*(?:\.(?!xn--)[a-z0-9](?:-*[a-z0-9])*)*$/
const FOUR_NUMBERS = /^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$/
const IPV4 = /^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.|$)){4}$/
const RULES = {
  useSTD3ASCIIRules: true, checkHyphens: false, checkBidi: true, checkJoiners: true, transitionalProcessing: false,
}

/** RFC 3986 §3.2.2: four numbers are an IPv4 address or an error; some programs read 010 as ten, others as eight. */
function checkedIpv4 (name: string): string {
  if (!IPV4.test(name)) throw new PrepError('is not an IPv4 address')
  return name
}

/** RFC 3986 §3.2.2: an IPv6 address without a zone; no future version. Returns the shortest form (RFC 5952). */
function literal (text: string): string {
  const inner = text.slice(1, -1)
  if (!text.endsWith(']') || !/^[0-9A-Fa-f:.]+$/.test(inner) || !ipaddr.IPv6.isValid(inner)) {
    throw new PrepError('is not an IPv6 address')
  }
  const dotted = inner.slice(inner.lastIndexOf(':') + 1)
  if (dotted.includes('.') && !IPV4.test(dotted)) throw new PrepError('is not an IPv6 address')
  return `[${ipaddr.IPv6.parse(inner).toRFC5952String()}]`
}

/**
 * RFC 5895 §2: maps wide and capital letters, and ideographic full stops. Nothing else is mapped: a name with other
 * lookalike characters is refused.
 */
function map (text: string): string {
  return lowerCase(narrow(text)).normalize('NFC').replaceAll('\u3002', '.')
}

function international (name: string): string {
  for (const label of name.split('.')) if (!label.startsWith('xn--')) checkLabel(label)
  const { domain, error } = toUnicode(name, RULES)
  if (error) throw new PrepError('is not a valid internationalized domain name')
  for (const label of domain.split('.')) checkLabel(label)
  if (toASCII(name, { ...RULES, verifyDNSLength: true }) === null) throw new PrepError('is too long')
  return domain
}

/** RFC 5891 §5.4; RFC 5892 §3, in that order. */
function checkLabel (label: string): void {
  if (label === '') throw new PrepError('has an empty label')
  if (label.startsWith('-') || label.endsWith('-')) throw new PrepError('has a hyphen at an end of a label')
  if (label.startsWith('--', 2) && !ASCII.test(label)) throw new PrepError('has hyphens in a reserved place')
  for (const character of label) {
    if (/[a-z0-9-]/.test(character) || EXCEPTIONALLY_VALID.test(character) || CONTEXTUAL.test(character)) continue
    if (EXCEPTIONALLY_DISALLOWED.test(character) || NEVER.test(character) || !LETTER_OR_DIGIT.test(character)) {
      throw disallowed(character)
    }
  }
  checkContexts(label)
}

/**
 * RFC 5892 §2.2 to §2.4: characters that are unstable under normalization and case folding, ignorable, or in an
 * ignorable block.
 */
const NEVER = /[\p{C}\p{Changes_When_NFKC_Casefolded}\p{Default_Ignorable_Code_Point}\u20d0-\u20ff\u{1d100}-\u{1d24f}]/u
