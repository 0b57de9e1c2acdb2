/** How the drivers compare a store with what a module declares, and upgrade its values. */
import { bytesOf, isJson } from './items.js'
import { entriesOf, namesOf, type IndexEntry } from './ranks.js'
import { linesIn } from './segments.js'
import type { Shape } from './store.js'

/** A store as a database knows it. `names`: the indexes and sums of a table, as JSON. */
export interface KnownStore {
  readonly id: number
  readonly kind: string
  readonly version: number
  readonly names: string | null
}

/**
 * The outcome for one value: it stays as it is, is removed, or is replaced. `bytes`: what the new value counts for.
 */
export type Upgraded = 'stays' | 'goes' | { readonly json: string, readonly bytes: number }

/** The number of rows that an upgrade reads at a time. */
export const UPGRADED_AT_ONCE = 500

/**
 * Returns the function that brings a stored value, as JSON, to the version of a shape; undefined if the store is at
 * that version already. Throws if the store cannot be opened with the shape.
 */
export function upgradeOf (
  name: string, { kind, version }: KnownStore, shape: Shape<unknown>,
): ((json: string) => Upgraded) | undefined {
  if (kind !== shape.kind) throw new Error(`the store ${name} is a store of kind '${kind}', not '${shape.kind}'`)
  if (version > shape.version) {
    throw new Error(`the store ${name} was written by a newer version of its module: ` +
      `its values are at version ${version}, this one knows ${shape.version}`)
  }
  if (version === shape.version) return undefined
  const { upgrade } = shape
  if (upgrade === undefined) {
    throw new Error(`the store ${name} has no upgrade from version ${version} to ${shape.version}`)
  }
  return text => {
    if (!isJson(text)) return 'stays' // its next reader puts it aside
    const value = upgrade(JSON.parse(text), version)
    if (value === undefined) return 'goes'
    const json = JSON.stringify(value)
    return { json, bytes: bytesOf(value, json) }
  }
}

/** Returns the names of a shape's indexes and sums as a database knows them; null if it is not the shape of a table. */
export function indexNames ({ indexes }: Shape<unknown>): string | null {
  return indexes === undefined ? null : JSON.stringify(namesOf(indexes))
}

/** Returns the entries of a log's segment after an upgrade; undefined if they are not JSON, and stay as they are. */
export function upgradeLines (entries: string, upgrade: (json: string) => Upgraded): string | undefined {
  const lines = linesIn(entries)?.flatMap(([number, owner, key, value]) => {
    const next = upgrade(JSON.stringify(value))
    if (next === 'goes') return []
    const upgraded: unknown = next === 'stays' ? value : JSON.parse(next.json)
    return [[number, owner, key, upgraded]]
  })
  return lines === undefined ? undefined : JSON.stringify(lines)
}

/** The outcome for one row of a table. `entries`: what it has in the indexes from now on. */
export interface UpgradedRow { readonly value: Upgraded, readonly entries: readonly IndexEntry[] }

/**
 * Returns the function that brings a row of a table to the version and to the indexes of a shape; undefined if the
 * table has both already. `upgrade` is what upgradeOf returned.
 */
export function rowUpgradeOf (
  known: KnownStore, shape: Shape<unknown>, upgrade: ((json: string) => Upgraded) | undefined,
): ((json: string) => UpgradedRow) | undefined {
  if (upgrade === undefined && known.names === indexNames(shape)) return undefined
  return text => {
    const value = upgrade?.(text) ?? 'stays'
    if (value === 'goes') return { value, entries: [] }
    return { value, entries: readEntries(shape, value === 'stays' ? text : value.json) }
  }
}

/** A row that cannot be read is in no index; who reads it by its key puts it aside. */
function readEntries ({ indexes, check }: Shape<unknown>, json: string): readonly IndexEntry[] {
  try {
    const value: unknown = JSON.parse(json)
    return indexes === undefined || check?.(value) === false ? [] : entriesOf(indexes, value)
  } catch {
    return []
  }
}
