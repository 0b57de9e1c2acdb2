/** Checks the XML declaration (XML 1.0 §2.8). */
import { malformed, XmlError } from './xml-error.js'

const DECLARATION = new RegExp('^<\\?xml\\s+version\\s*=\\s*(["\'])1\\.[0-9]+\\1' +
  '(?:\\s+encoding\\s*=\\s*(["\'])([A-Za-z][A-Za-z0-9._-]*)\\2)?' +
  '(?:\\s+standalone\\s*=\\s*(["\'])(?:yes|no)\\4)?\\s*\\?>$')

/**
 * The names that mean UTF-8: the name and alias in IANA's registry, and the spellings that the Encoding Standard
 * (WHATWG, §4.2) lists. US-ASCII is not among them. Every US-ASCII text is UTF-8, but the name announces another
 * encoding, which RFC 6120 §11.6 does not allow.
 */
const UTF8 = /^(?:utf-?8|csutf8|unicode-1-1-utf-8|(?:unicode11|(?:x-)?unicode20)utf8)$/i

/** True if this encoding name means UTF-8, in any case of letters. */
export function meansUtf8 (encoding: string): boolean { return UTF8.test(encoding) }

/** Throws XmlError if the text is not an XML declaration, or declares an encoding other than UTF-8 (RFC 6120 §11.6). */
export function checkDeclaration (text: string): void {
  const encoding = (DECLARATION.exec(text) ?? malformed('an invalid XML declaration'))[3]
  if (encoding !== undefined && !meansUtf8(encoding)) {
    throw new XmlError('unsupported-encoding', 'the declared encoding is not UTF-8')
  }
}
