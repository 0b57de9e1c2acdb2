/** Lanes: what is done under one key is done one after the other. */

export class Lanes {
  readonly #last = new Map<string, Promise<void>>()

  /**
   * Waits until everything that entered before under this key has left. Returns the function to leave, which may be
   * called more than once. The callers bound how many wait.
   */
  async enter (key: string): Promise<() => void> {
    const before = this.#last.get(key)
    let leave = (): void => {}
    const mine = new Promise<void>(resolve => { leave = resolve })
    this.#last.set(key, mine)
    void mine.then(() => { if (this.#last.get(key) === mine) this.#last.delete(key) })
    await before
    return leave
  }

  /** Runs `work` in the lane of the key; settles as `work` does. */
  async run<T> (key: string, work: () => Promise<T>): Promise<T> {
    const leave = await this.enter(key)
    try {
      return await work()
    } finally {
      leave()
    }
  }
}
