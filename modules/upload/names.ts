/** Names of files and media types as strangers write them, made safe for addresses and headers. */

/** The longest name as it stands in an address, in characters: the web takes 512. */
const LONGEST = 480
/** The longest ending that is kept when a name is shortened, in characters. */
const LONGEST_ENDING = 20
const LONGEST_TYPE = 100
/** Control characters, and those that turn the direction of a text: "gnp.exe" must not look like "exe.png". */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu
const MEDIA_TYPE = /^[a-z0-9][a-z0-9!#$&^_.+-]*\/[a-z0-9][a-z0-9!#$&^_.+-]*$/

/**
 * Returns the name without folders and unsafe characters. XEP-0363 §4: the name, and its ending above all, stay. A long
 * one loses the end of its stem. A name of nothing but dots becomes "file".
 */
export function safeName (name: string): string {
  const plain = (name.split(/[/\\]/).at(-1) ?? '').replace(UNSAFE, '').trim()
  if (/^\.*$/.test(plain)) return 'file'
  if (encodeURIComponent(plain).length <= LONGEST) return plain
  const dot = plain.lastIndexOf('.')
  const found = dot > 0 ? plain.slice(dot) : ''
  const ending = found.length <= LONGEST_ENDING && encodeURIComponent(found).length < LONGEST / 2 ? found : ''
  const room = LONGEST - encodeURIComponent(ending).length
  let stem = ''
  let length = 0
  for (const character of ending === '' ? plain : plain.slice(0, dot)) {
    length += encodeURIComponent(character).length
    if (length > room) break
    stem += character
  }
  return stem + ending
}

/** Returns a media type without its parameters, in lower case; undefined if the text is none (RFC 9110 §8.3.1). */
export function mediaType (text: string): string | undefined {
  const type = (text.split(';')[0] ?? '').trim().toLowerCase()
  return type.length <= LONGEST_TYPE && MEDIA_TYPE.test(type) ? type : undefined
}

/** True if one of the patterns allows the type: "image/png", "image/*". Without patterns, all are allowed. */
export function allows (patterns: readonly string[], type: string): boolean {
  return patterns.length === 0 || patterns.some(pattern => {
    const wanted = pattern.toLowerCase()
    return wanted === type || wanted.endsWith('/*') && type.startsWith(wanted.slice(0, -1))
  })
}
