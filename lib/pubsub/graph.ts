/** The graph that nodes and collections form (XEP-0248 §4.1). */
import { parentsOf } from './config.js'
import { ROOT, type Node } from './node.js'

/** A collection above a node, and how many levels. */
export interface Above { readonly collection: Node, readonly distance: number }

/** Returns the collections above a node, the nearest first, each once and with the shortest way. */
export function above (nodes: (name: string) => Node | undefined, node: Node): readonly Above[] {
  const found: Above[] = []
  const seen = new Set([node.name])
  let names = node.name === ROOT ? [] : parentsOf(node.config)
  for (let distance = 1; names.length > 0; distance++) {
    const next: string[] = []
    for (const name of names) {
      const collection = seen.has(name) ? undefined : nodes(name)
      if (collection === undefined) continue
      seen.add(name)
      found.push({ collection, distance })
      if (name !== ROOT) next.push(...parentsOf(collection.config))
    }
    names = next
  }
  return found
}
