/** Checks whether a JSON value has the form that a store holds, for the `check` of its shape. */

/** The kind of a property; with `?` the property may be missing. */
export type Kind =
  | 'string' | 'number' | 'boolean' | 'object' | 'strings' | 'string?' | 'number?' | 'boolean?' | 'object?' | 'strings?'

/** True if the value is an object with these properties. More properties are allowed. */
export function hasForm (
  value: unknown, properties: Readonly<Record<string, Kind>>,
): value is Readonly<Record<string, unknown>> {
  if (!isObject(value)) return false
  for (const name in properties) {
    const kind = properties[name] ?? ''
    const own = value[name]
    if (own === undefined ? !kind.endsWith('?') : !isKind(own, kind.replace('?', ''))) return false
  }
  return true
}

/** True if the value is a string. */
export function isText (value: unknown): value is string { return typeof value === 'string' }

function isKind (value: unknown, kind: string): boolean {
  if (kind === 'strings') return Array.isArray(value) && value.every(isText)
  return kind === 'object' ? isObject(value) : typeof value === kind
}

function isObject (value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
