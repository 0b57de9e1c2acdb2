/** The counters of XEP-0198: they go on at 0 after their highest value. */

/** §4: a count is an xs:unsignedInt; after its highest value comes 0. */
export const WRAP = 2 ** 32

/** Returns a count plus `by`, which may be negative, modulo 2³². */
export function counted (count: number, by = 1): number {
  return ((count + by) % WRAP + WRAP) % WRAP
}

/** Returns how far it is from one count on to another: 0 to 2³² - 1. */
export function distance (from: number, to: number): number { return counted(to, -from) }
