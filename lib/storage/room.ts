/** What may wait for a writer, in bytes: a disk that is slow does not fill the memory. */

/** Bytes of all batches that wait. One batch more is taken while less waits. */
export const MOST_WAITING_BYTES = 256 * 1024 * 1024

/** Bytes of the texts in a row, nearly. */
export function bytesIn (row: Iterable<unknown>): number {
  let bytes = 0
  for (const part of row) if (typeof part === 'string') bytes += part.length
  return bytes
}
