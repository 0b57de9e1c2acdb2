/** Stream headers (RFC 6120 §4.7): what the peer's says, and ours. */
import { attributeOf, type ParsedElement } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { flatten, startTag } from '../xml/writer.js'
import { StreamError } from '../xmpp/errors.js'
import { JidError, parseJid, type Jid } from '../xmpp/jid.js'

export interface StreamHeader {
  readonly to: Jid | undefined
  readonly from: Jid | undefined
  readonly lang: string | undefined
  readonly id: string | undefined
}

export interface OwnHeader {
  readonly namespace: string
  readonly id?: string | undefined
  readonly from?: string | undefined
  readonly to?: string | undefined
}

/** The language of all texts that this server makes. */
const LANGUAGE = 'en'
/** No longer tag is in the registry (RFC 5646 §4.4.1 asks for 35 characters). */
const LONGEST_LANGUAGE = 64

/** Reads the peer's header. Throws StreamError. */
export function readHeader (root: ParsedElement): StreamHeader {
  checkVersion(attributeOf(root, 'version'))
  const lang = attributeOf(root, 'xml:lang')
  const id = attributeOf(root, 'id')
  return {
    to: addressIn(root, 'to'),
    from: addressIn(root, 'from'),
    lang: lang === undefined || !isLanguage(lang) ? undefined : flatten(lang),
    id: id === undefined ? undefined : flatten(id), // kept as long as the stream: no window on its chunk
  }
}

/** Our header as octets: RFC 6120 §4.2, §4.7. */
export function headerOctets (header: OwnHeader): string {
  return "<?xml version='1.0'?>" + startTag('stream:stream', {
    'xmlns': header.namespace,
    'xmlns:stream': NS.STREAM,
    // XEP-0220 §2.1: between servers, the prefix of dialback is declared here
    'xmlns:db': header.namespace === NS.SERVER ? NS.DIALBACK : undefined,
    'id': header.id,
    'from': header.from,
    'to': header.to,
    'version': '1.0',
    'xml:lang': LANGUAGE,
  })
}

/**
 * RFC 6120 §4.7.5: a peer of a higher version gets the lower one of the two as the answer, which is 1.0, and decides itself whether that
 * is enough. §4.9.3.25: a peer that names no version, or 0.9, speaks the protocol before RFC 3920: without features, so without TLS.
 */
function checkVersion (version: string | undefined): void {
  const [, major] = /^(\d{1,9})\.\d{1,9}$/.exec(version ?? '') ?? []
  if (major === undefined || Number(major) < 1) throw new StreamError('unsupported-version')
}

/** RFC 6120 §4.9.3.7. */
function addressIn (root: ParsedElement, name: 'to' | 'from'): Jid | undefined {
  const text = attributeOf(root, name)
  if (text === undefined) return undefined
  try {
    return parseJid(text)
  } catch (error) {
    if (!(error instanceof JidError)) throw error
    throw new StreamError('improper-addressing', `the stream's '${name}' is not an address`, { cause: error })
  }
}

function isLanguage (text: string): boolean {
  return text.length <= LONGEST_LANGUAGE && /^[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*$/.test(text)
}
