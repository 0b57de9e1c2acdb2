/** Typed names: of a value in a session (slot), and of what one module offers to others (service). */

/** A value as text, and back. `read` throws on a text that `write` never made. */
export interface Codec<T> { write (value: T): string, read (text: string): T }

/** A named place in a session for one module's value: lives through reload and, with a codec, restart. `shared`: other nodes see it too. */
export interface Slot<T> {
  readonly name: string
  readonly initial: () => T
  readonly codec: Codec<T> | undefined
  readonly onResume: 'keep' | 'reset'
  readonly shared: boolean
}

/** Makes a slot. Its name is `module.value`, and stays: it is how a value is found again after a restart. */
export function slot<T> (name: string, how: { initial: () => T, codec?: Codec<T>, onResume?: 'keep' | 'reset', shared?: boolean }): Slot<T> {
  return { name, initial: how.initial, codec: how.codec, onResume: how.onResume ?? 'keep', shared: how.shared ?? false }
}

/** A boolean as text. */
export const flag: Codec<boolean> = {
  write: value => value ? '1' : '0',
  read: text => text === '1',
}

/** What one module offers to others, by a value both import: the types come along. */
export interface Service<T> { readonly name: string, readonly type?: T }

export function service<T> (name: string): Service<T> {
  return { name }
}
