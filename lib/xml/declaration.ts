/** The XML declaration (XML 1.0 §2.8). */
import { malformed, XmlError } from './xml-error.js'

const DECLARATION = new RegExp('^<\\?xml\\s+version\\s*=\\s*(["\'])1\\.[0-9]+\\1' +
  '(?:\\s+encoding\\s*=\\s*(["\'])([A-Za-z][A-Za-z0-9._-]*)\\2)?' +
  '(?:\\s+standalone\\s*=\\s*(["\'])(?:yes|no)\\4)?\\s*\\?>$')

/**
 * The names that mean UTF-8: the one of IANA's registry and its alias, and the spellings that the Encoding Standard (WHATWG, §4.2) lists.
 * US-ASCII is not among them: every such text is UTF-8, but the name promises another encoding, which RFC 6120 §11.6 does not allow.
 */
const UTF8 = /^(?:utf-?8|csutf8|unicode-1-1-utf-8|(?:unicode11|(?:x-)?unicode20)utf8)$/i

/** Whether this name of an encoding means UTF-8, in whatever case. */
export function meansUtf8 (encoding: string): boolean { return UTF8.test(encoding) }

/** Throws where it is none, or names another encoding than UTF-8 (RFC 6120 §11.6). */
export function checkDeclaration (text: string): void {
  const encoding = (DECLARATION.exec(text) ?? malformed('no XML declaration'))[3]
  if (encoding !== undefined && !meansUtf8(encoding)) {
    throw new XmlError('unsupported-encoding', 'another encoding than UTF-8 is declared')
  }
}
