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

/** Values by typed name: what is put under a name comes out with its type, for one name has one type. */
export class Named {
  readonly #values = new Map<string, unknown>()

  has (name: { readonly name: string }): boolean { return this.#values.has(name.name) }
  get<T> (name: { readonly name: string, readonly type?: T }): T | undefined { return this.#values.get(name.name) as T | undefined }
  /** The value; where there is none, it is made and kept. */
  made<T> (name: { readonly name: string, readonly type?: T }, make: () => T): T {
    if (!this.has(name)) this.put(name, make())
    return this.#values.get(name.name) as T
  }

  put<T> (name: { readonly name: string, readonly type?: T }, value: T): void { this.#values.set(name.name, value) }
  delete (name: { readonly name: string }): void { this.#values.delete(name.name) }
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
