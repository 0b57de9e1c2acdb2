/** Counters since the start. */

/** Labels with few and fixed values: never a text that a stranger chooses. */
export type Labels = Readonly<Record<string, string>>

export interface Count { readonly metric: string, readonly labels: Labels, readonly value: number }

/** The most counters: a bound against mistakes, far above the label values of any metric. */
const MOST = 10_000

/** Counters by name and labels. */
export class Counters {
  readonly #counts = new Map<string, { readonly metric: string, readonly labels: Labels, value: number }>()

  /** Adds to a counter. New labels are ignored after MOST counters. */
  count (metric: string, by = 1, labels?: Labels): void {
    const key = keyOf(metric, labels)
    const known = this.#counts.get(key)
    if (known !== undefined) known.value += by
    else if (this.#counts.size < MOST) this.#counts.set(key, { metric, labels: labels ?? {}, value: by })
  }

  /** The value of a counter; without labels, the sum of all with this name. Undefined if nothing was counted. */
  get (metric: string, labels?: Labels): number | undefined {
    if (labels !== undefined) return this.#counts.get(keyOf(metric, labels))?.value
    const all = [...this.#counts.values()].filter(count => count.metric === metric)
    return all.length === 0 ? undefined : all.reduce((sum, { value }) => sum + value, 0)
  }

  /** Yields the counters with these names, each with its description; 0 for a name that was never counted. */
  * described (names: Readonly<Record<string, string>>): Iterable<Count & { readonly help: string }> {
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
