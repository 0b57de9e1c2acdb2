/** Stream headers (RFC 6120 §4.7): their content, whatever the framing, and how the peer's is read. */
import { attributeOf, type ParsedElement } from '../xml/element.js'
import { flatten } from '../xml/writer.js'
import { StreamError } from '../xmpp/errors.js'
import { JidError, parseJid, type Jid } from '../xmpp/jid.js'

/** The peer's header. */
export interface StreamHeader {
  readonly to: Jid | undefined
  readonly from: Jid | undefined
  readonly lang: string | undefined
  readonly id: string | undefined
}

/** Our header. */
export interface OwnHeader {
  readonly namespace: string
  readonly id?: string | undefined
  readonly from?: string | undefined
  readonly to?: string | undefined
}

/** The most characters of a language tag. No longer one is registered (RFC 5646 §4.4.1 asks for 35). */
const LONGEST_LANGUAGE = 64

/** Reads the peer's header. Throws StreamError. */
export function readHeader (root: ParsedElement): StreamHeader {
  checkVersion(attributeOf(root, 'version'))
  return readUnversionedHeader(root)
}

/** Reads the header of a peer whose protocol has no version (XEP-0114). Throws StreamError. */
export function readUnversionedHeader (root: ParsedElement): StreamHeader {
  const lang = attributeOf(root, 'xml:lang')
  const id = attributeOf(root, 'id')
  return {
    to: addressIn(root, 'to'),
    from: addressIn(root, 'from'),
    lang: lang === undefined || !isLanguage(lang) ? undefined : flatten(lang),
    // copied, so that no network buffer is held for the time of the stream
    id: id === undefined ? undefined : flatten(id),
  }
}

/**
 * RFC 6120 §4.7.5: a peer with a higher version is answered with the lower one of the two, which is 1.0, and decides
 * itself whether that is enough. §4.9.3.25: a peer without a version, or with 0.9, speaks the protocol before RFC 3920,
 * which has no features and so no TLS.
 */
function checkVersion (version: string | undefined): void {
  const [, major] = /^(\d{1,9})\.\d{1,9}$/.exec(version ?? '') ?? []
  if (major === undefined || Number(major) < 1) throw new StreamError('unsupported-version')
}

/** RFC 6120 §4.9.3.7: throws StreamError if the text is not an address. */
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
