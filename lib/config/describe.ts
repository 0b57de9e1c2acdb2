/** The settings in force, each with the place it came from: what `sestina check --full` prints. */
import { modulePath, type Config } from './load.js'
import { writePlace } from './problem.js'
import { isTree, type Path } from './read.js'
import type { Kind, Schema } from './schema.js'
import { host as hostSchema, server as serverSchema } from './server.js'
import { dotted } from './words.js'

/** One setting in force. `value` is as it would be written in TOML; a secret's says only where it is kept. */
export interface Row { readonly path: string, readonly value: string, readonly from: string }

/** Every setting in force: the server's, then host by host. `from` is a place such as `conf/sestina.toml:12:9`, or 'default'. */
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
  for (const { domain, modules } of config.hosts.values()) {
    const here = ['host', domain]
    inForce(hostSchema, here, at(source.root, here), inner => [...here, ...inner])
    for (const name of modules.keys()) {
      const origin = ([setting, ...deeper]: Path): Path => [...modulePath(source.root, domain, name, String(setting)), ...deeper]
      const schema = terms.get(name)?.settings ?? {}
      const written = Object.fromEntries(Object.keys(schema).map(setting => [setting, at(source.root, origin([setting]))]))
      const turnedOn = [[...here, 'modules', name], ['modules', name]].find(path => at(source.root, path) !== undefined)
      rows.push({ path: dotted([...here, 'modules', name]), value: 'true', from: turnedOn === undefined ? 'default' : writePlace(source.keyPlace(turnedOn)) })
      inForce(schema, [...here, 'modules', name], written, origin)
    }
  }
  return rows
}

/** A value as it would be written in TOML, on one line. */
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
