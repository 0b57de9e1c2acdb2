/** The graph that nodes and collections form (XEP-0248 §4.1). */
import { parentsOf } from './config.js'
import { ROOT, type Node } from './node.js'

/** A collection above a node, how many levels, and the collections between them. */
export interface Above { readonly collection: Node, readonly distance: number, readonly between: readonly Node[] }

/** Returns the collections above a node, the nearest first, each once and with a shortest way. */
export function above (nodes: (name: string) => Node | undefined, node: Node): readonly Above[] {
  const found: Above[] = []
  const seen = new Set([node.name])
  const climb = (from: Node, between: readonly Node[]): readonly Above[] => {
    const next: Above[] = []
    for (const name of from.name === ROOT ? [] : parentsOf(from.config)) {
      const collection = seen.has(name) ? undefined : nodes(name)
      if (collection === undefined) continue
      seen.add(name)
      next.push({ collection, distance: between.length + 1, between })
    }
    return next
  }
  for (let level = climb(node, []); level.length > 0;) {
    found.push(...level)
    level = level.flatMap(({ collection, between }) => climb(collection, [...between, collection]))
  }
  return found
}
