/** The number of bytes that may wait for a writer, so that a slow disk does not fill the memory. */

/** The most bytes of all waiting batches. One more batch is accepted while less than this waits. */
export const MOST_WAITING_BYTES = 256 * 1024 * 1024

/** Returns roughly the number of bytes of the texts in a row (it counts UTF-16 units). */
export function bytesIn (row: Iterable<unknown>): number {
  let bytes = 0
  for (const part of row) if (typeof part === 'string') bytes += part.length
  return bytes
}
