/** What is counted since the start. */

/** Few and fixed: what a stranger says is no label. */
export type Labels = Readonly<Record<string, string>>

export interface Count { readonly metric: string, readonly labels: Labels, readonly value: number }

/** Against a mistake: no name has so many values of its labels. */
const MOST = 10_000

/** Numbers that grow, by name and labels. */
export class Counters {
  readonly #counts = new Map<string, { readonly metric: string, readonly labels: Labels, value: number }>()

  /** Adds to one. Of a name with new labels nothing is counted once there are ten thousand. */
  count (metric: string, by = 1, labels?: Labels): void {
    const key = keyOf(metric, labels)
    const known = this.#counts.get(key)
    if (known !== undefined) known.value += by
    else if (this.#counts.size < MOST) this.#counts.set(key, { metric, labels: labels ?? {}, value: by })
  }

  /** What one stands at; without labels: all of that name together. undefined where nothing was counted. */
  get (metric: string, labels?: Labels): number | undefined {
    if (labels !== undefined) return this.#counts.get(keyOf(metric, labels))?.value
    const all = [...this.#counts.values()].filter(count => count.metric === metric)
    return all.length === 0 ? undefined : all.reduce((sum, { value }) => sum + value, 0)
  }

  /** Those of these names, with what they say; what was never counted stands at 0. */
  * told (names: Readonly<Record<string, string>>): Iterable<Count & { readonly help: string }> {
    const all = [...this.#counts.values()]
    for (const [metric, help] of Object.entries(names)) {
      const counts = all.filter(count => count.metric === metric)
      if (counts.length === 0) yield { metric, labels: {}, value: 0, help }
      for (const count of counts) yield { ...count, help }
    }
  }

  [Symbol.iterator] (): IterableIterator<Count> { return this.#counts.values() }
}

function keyOf (metric: string, labels: Labels | undefined): string {
  if (labels === undefined) return metric
  let key = metric
  for (const name in labels) key += ` ${name}=${labels[name] ?? ''}`
  return key
}
