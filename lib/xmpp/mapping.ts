/** The mappings that PRECIS and IDNA share (RFC 8264 §5.2, RFC 5895 §2). */

/**
 * Replaces fullwidth and halfwidth characters with their usual forms (Unicode decompositions `<wide>` and `<narrow>`).
 */
export function narrow (text: string): string {
  return text.replace(/[\u3000\uff01-\uffee]/g, wide => wide.normalize('NFKC'))
}

/**
 * Converts each character to lower case by itself, whatever its neighbours are. So a capital sigma at the end of a word
 * becomes an ordinary small sigma, never a final one.
 */
export function lowerCase (text: string): string {
  let lower = ''
  for (const character of text) lower += character.toLowerCase()
  return lower
}
