/** A target of random input: one promise, and a way to try it. */
import fc from 'fast-check'

export interface Target {
  /** The promise, in a sentence. */
  readonly about: string
  /**
   * Tries this many cases; the same seed makes the same cases. Throws with the smallest case that breaks the promise,
   * and its seed.
   */
  run (cases: number, seed?: number): Promise<void>
}

/** Makes a target of cases from fast-check, each checked by itself; a case that breaks the promise is made smaller. */
export function cases<T> (about: string, input: fc.Arbitrary<T>, check: (input: T) => void | Promise<void>): Target {
  return {
    about,
    run: async (count, seed) => {
      const property = fc.asyncProperty(input, async given => { await check(given) })
      await fc.assert(property, { numRuns: count, ...seed === undefined ? {} : { seed } })
    },
  }
}

/** Returns the result of `work`, or undefined if it throws this kind of error. Any other error is rethrown. */
export function allowing<T> (kind: abstract new (...parameters: never) => Error, work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (error instanceof kind) return undefined
    throw error
  }
}

/** Texts that tend to break XML, addresses or Unicode handling. */
export const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.string({ unit: 'grapheme', maxLength: 8 }),
  fc.array(fc.constantFrom(...Array.from('@/.:[]\\&<>\'" \t\n\u00a0\u200d\u0130\u00df\ufb01\u2126\u{1f339}'), 'xn--', '1.2.3.4', '::1', 'a', 'B', '\u0627', '..'), { maxLength: 8 })
    .map(parts => parts.join('')),
)

/** Escapes a text for XML; characters that XML cannot carry are left out. */
export function escaped (given: string): string {
  return given.replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|\p{Cs}/gu, '').replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll("'", '&apos;')
}
