/** Cuts texts to a length. The lint rule `sestina/cut-text` forbids other ways. */

/**
 * Returns the beginning of a text, at most `most` UTF-16 code units. A character that does not fit whole is left out:
 * half of a surrogate pair can neither be written as XML (XML 1.0 §2.2) nor encoded as UTF-8.
 */
export function shortened (text: string, most: number): string {
  if (text.length <= most) return text
  const last = text.charCodeAt(most - 1)
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? most - 1 : most)
}
