/** The XML declaration (XML 1.0 §2.8). */
import { malformed, XmlError } from './xml-error.js'

const DECLARATION = new RegExp('^<\\?xml\\s+version\\s*=\\s*(["\'])1\\.[0-9]+\\1' +
  '(?:\\s+encoding\\s*=\\s*(["\'])([A-Za-z][A-Za-z0-9._-]*)\\2)?' +
  '(?:\\s+standalone\\s*=\\s*(["\'])(?:yes|no)\\4)?\\s*\\?>$')

/** Throws where it is none, or names another encoding than UTF-8 (RFC 6120 §11.6). */
export function checkDeclaration (text: string): void {
  const encoding = (DECLARATION.exec(text) ?? malformed('no XML declaration'))[3]
  if (encoding !== undefined && encoding.toLowerCase() !== 'utf-8') {
    throw new XmlError('unsupported-encoding', 'another encoding than UTF-8 is declared')
  }
}
