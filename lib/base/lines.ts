/** The lines of a text that arrives in pieces. */

const NEWLINE = 0x0a

/**
 * Yields the lines of a text in UTF-8, without the newlines. What follows the last newline is a line, unless it is
 * empty. Throws RangeError if a line has more than `most` bytes.
 */
export async function * linesOf (chunks: AsyncIterable<Buffer>, most: number): AsyncGenerator<string> {
  let parts: Buffer[] = []
  let length = 0
  const add = (part: Buffer): void => {
    length += part.length
    if (length > most) throw new RangeError(`a line has more than ${most} bytes`)
    parts.push(part)
  }
  for await (const chunk of chunks) {
    let from = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      add(chunk.subarray(from, end))
      yield Buffer.concat(parts).toString()
      parts = []
      length = 0
      from = end + 1
    }
    add(chunk.subarray(from))
  }
  if (length > 0) yield Buffer.concat(parts).toString()
}
