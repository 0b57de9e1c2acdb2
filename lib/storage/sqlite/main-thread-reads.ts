/**
 * Bounds the reads on the main thread in one turn of the event loop. A reader that loops over pages never leaves its
 * turn while each page is answered at once, so after this bound the reader's thread answers.
 */

/** The most entries, and bytes of their values, that are read in one turn. */
const ENTRIES = 256
const BYTES = 256 * 1024

export class MainThreadReads {
  #entries = 0
  #bytes = 0

  /** True if more may be read in this turn. */
  get hasRoom (): boolean { return this.#entries < ENTRIES && this.#bytes < BYTES }

  /** Counts a read of this turn, also if it found nothing. */
  count (entries: number, bytes: number): void {
    if (this.#entries === 0) {
      setImmediate(() => {
        this.#entries = 0
        this.#bytes = 0
      })
    }
    this.#entries += entries + 1
    this.#bytes += bytes
  }
}
