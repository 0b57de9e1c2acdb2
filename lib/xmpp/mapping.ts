/** The mappings that PRECIS and IDNA share (RFC 8264 §5.2, RFC 5895 §2). */

/** Fullwidth and halfwidth characters as their usual forms (Unicode decompositions `<wide>` and `<narrow>`). */
export function narrow (text: string): string {
  return text.replace(/[\u3000\uff01-\uffee]/g, wide => wide.normalize('NFKC'))
}

/**
 * In lower case, each character for itself: the form of a letter does not hang on what stands beside it. A capital sigma
 * at the end of a word is a small sigma therefore, and never a final one.
 */
export function lowerCase (text: string): string {
  let lower = ''
  for (const character of text) lower += character.toLowerCase()
  return lower
}
