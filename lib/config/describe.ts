/** Lists the settings in force, each with the place it came from, for `sestina check --full`. */
import { modulePath, type Config } from './load.js'
import { OUTSIDE } from './outside.js'
import { writePlace } from './problem.js'
import { isTree, type Path } from './read.js'
import type { Kind, Schema } from './schema.js'
import { host as hostSchema, server as serverSchema } from './server.js'
import { dotted } from './words.js'

/** One setting in force. `value` is written as in TOML; for a secret, it says only where the secret is kept. */
export interface Row { readonly path: string, readonly value: string, readonly from: string }

/**
 * Returns every setting in force: first those of the server, then those of each host. `from` is a place such as
 * `conf/sestina.toml:12:9`, or 'default'.
 */
export function describe (config: Config): readonly Row[] {
  const { source, terms } = config
  const rows: Row[] = []
  const inForce = (schema: Schema, path: Path, written: unknown, origin: (inner: Path) => Path): void => {
    for (const row of rowsOf(schema, [], written)) {
      const from = row.written ? writePlace(source.valuePlace(origin(row.inner))) : 'default'
      rows.push({ path: dotted([...path, ...row.inner]), value: toml(row.value), from })
    }
  }
  inForce(serverSchema, [], source.root, inner => inner)
  inForce(OUTSIDE, ['modules'], source.root['modules'], inner => ['modules', ...inner])
  for (const { domain, modules } of config.hosts.values()) {
    const here = ['host', domain]
    inForce(hostSchema, here, at(source.root, here), inner => [...here, ...inner])
    for (const name of modules.keys()) {
      const origin = ([setting, ...deeper]: Path): Path =>
        [...modulePath(source.root, domain, name, String(setting)), ...deeper]
      const schema = terms.get(name)?.settings ?? {}
      const valueOf = (setting: string): unknown => at(source.root, origin([setting]))
      const written = Object.fromEntries(Object.keys(schema).map(setting => [setting, valueOf(setting)]))
      const turnedOn = [[...here, 'modules', name], ['modules', name]].find(path => at(source.root, path) !== undefined)
      rows.push({ path: dotted([...here, 'modules', name]), value: 'true', from: turnedOn === undefined ? 'default' : writePlace(source.keyPlace(turnedOn)) })
      inForce(schema, [...here, 'modules', name], written, origin)
    }
  }
  return rows
}

/** Writes a value as TOML, on one line. */
export function toml (value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(toml).join(', ')}]`
  if (!isTree(value)) return typeof value === 'string' ? JSON.stringify(value) : String(value)
  const settings = Object.keys(value).map(key => `${dotted([key])} = ${toml(value[key])}`)
  return settings.length === 0 ? '{}' : `{ ${settings.join(', ')} }`
}

interface Found { readonly inner: Path, readonly value: unknown, readonly written: boolean }

function rowsOf (schema: Schema, above: Path, written: unknown): Found[] {
  return Object.entries(schema).flatMap(([name, kind]) => {
    const own = isTree(written) ? written[name] : undefined
    return rowsOfKind(kind, [...above, name], own ?? kind.written, own !== undefined)
  })
}

function rowsOfKind (kind: Kind<unknown>, inner: Path, value: unknown, written: boolean): Found[] {
  if (value === undefined) return []
  if (kind.fields !== undefined) {
    const found = rowsOf(kind.fields, inner, value)
    return written ? found : found.map(row => ({ ...row, written: false }))
  }
  const item = kind.item
  if (item?.fields === undefined || !Array.isArray(value)) return [{ inner, value, written }]
  return value.flatMap((each, index) => rowsOfKind(item, [...inner, index], each, written))
}

function at (root: unknown, path: Path): unknown {
  let value = root
  for (const step of path) value = isTree(value) ? value[step] : undefined
  return value
}
