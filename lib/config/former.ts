/** Reads settings that a conf file writes by a former name: each gets its present name, and the operator a warning. */
import { writePlace, type Problem } from './problem.js'
import { isTree, type Path } from './read.js'
import type { Kind, Schema } from './schema.js'
import type { ConfFiles } from './source.js'
import { dotted } from './words.js'

/** A setting that a conf file writes by a former name. Both names begin with the tables above them. */
export interface FormerName extends Problem { readonly former: string, readonly name: string }

/** Takes what `useNames` finds. */
export interface FormerNames {
  /** The setting is read by its present name. */
  warn (found: FormerName): void
  /** The setting is written by both names. Only the present name is read. */
  refuse (problem: Problem): void
}

/** Gives each setting in the table at `path` its present name, and those in the tables within it. */
export function useNames (source: ConfFiles, schema: Schema, path: Path, found: FormerNames): void {
  if (!isTree(source.at(path))) return
  for (const [name, kind] of Object.entries(schema)) {
    for (const former of kind.former) useName(source, path, [former, name], found)
    useNamesIn(source, kind, [...path, name], found)
  }
}

function useName (source: ConfFiles, table: Path, [former, name]: readonly [string, string], found: FormerNames): void {
  const [old, now] = [[...table, former], [...table, name]]
  if (source.at(old) === undefined) return
  const place = source.keyPlace(old)
  if (source.at(now) === undefined) {
    source.rename(table, former, name)
    const names = { former: dotted(old), name: dotted(now) }
    found.warn({ place, text: `${names.former} has a new name: write ${names.name}`, ...names })
  } else {
    const text = `${dotted(old)} is a former name of ${dotted(now)}, which is set as well: also at ${writePlace(source.keyPlace(now))}; remove one of them`
    found.refuse({ place, text })
    source.remove(table, former)
  }
}

/** Does the same for the tables in a list, and for those under keys that the operator chooses. */
function useNamesIn (source: ConfFiles, { fields, item }: Kind<unknown>, path: Path, found: FormerNames): void {
  if (fields !== undefined) useNames(source, fields, path, found)
  if (item?.fields === undefined && item?.item === undefined) return
  const value = source.at(path)
  const steps = Array.isArray(value) ? value.keys() : isTree(value) ? Object.keys(value) : []
  for (const step of steps) useNamesIn(source, item, [...path, step], found)
}
