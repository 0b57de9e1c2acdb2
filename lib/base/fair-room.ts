/** Room for what waits, in bytes, shared fairly: one sender that fills all it may leaves room for the others. */

export class FairRoom {
  readonly #most: number
  readonly #least: number
  readonly #used = new Map<string, number>()
  #bytes = 0

  /**
   * `most` is the bytes of all. `least`: a group with less than this is refused only if twice `most` is used, so that
   * many groups together do not keep out another one.
   */
  constructor (most: number, least: number) {
    this.#most = most
    this.#least = least
  }

  /** The bytes that are used. */
  get bytes (): number { return this.#bytes }

  /** True if the group of a sender would then still have less than `least`. */
  isLittle (names: readonly string[], bytes: number): boolean {
    return this.#usedBy(keysOf(names)[0]) + bytes <= this.#least
  }

  /**
   * Takes room for a sender. `names`: the group of the sender, then its name within the group, if it has one. A group
   * may fill half of what other groups leave, and a sender half of what others of its group leave to it. Returns false,
   * and takes nothing, if that is not enough.
   */
  take (names: readonly string[], bytes: number): boolean {
    if (!this.isFree(names, bytes)) return false
    this.#change(names, bytes)
    return true
  }

  /** Takes room for a sender who is not refused. Without names, nobody's share grows. */
  add (names: readonly string[], bytes: number): void { this.#change(names, bytes) }

  /** Gives back what a sender has taken. */
  giveBack (names: readonly string[], bytes: number): void { this.#change(names, -bytes) }

  /** True if `take` would take this room. */
  isFree (names: readonly string[], bytes: number): boolean {
    if (this.isLittle(names, bytes)) return this.#bytes + bytes <= 2 * this.#most
    let left = this.#most - this.#bytes
    for (const key of keysOf(names)) {
      const used = this.#usedBy(key)
      if (used + bytes > left) return false
      left = (left - used) / 2 // what this group may still add, of which its members have equal parts
    }
    return true
  }

  #usedBy (key: string | undefined): number { return this.#used.get(key ?? '') ?? 0 }

  #change (names: readonly string[], by: number): void {
    this.#bytes += by
    for (const key of keysOf(names)) {
      const used = this.#usedBy(key) + by
      if (used > 0) this.#used.set(key, used)
      else this.#used.delete(key)
    }
  }
}

/** The keys of a group and of its members. A member may have the name of its group. */
function keysOf (names: readonly string[]): readonly string[] {
  return names.map((_, n) => names.slice(0, n + 1).join(' '))
}
