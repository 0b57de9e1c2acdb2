/** Typed names: of a value in a session (slot), and of what one module offers to others (service). */

/** Writes a value as text, and reads it. `read` throws on a text that `write` never makes. */
export interface Codec<T> { write (value: T): string, read (text: string): T }

/**
 * The name of one module's value in a session. The value survives a reload and, with a codec, a restart. `shared`:
 * other nodes see it too.
 */
export interface Slot<T> {
  readonly name: string
  readonly initial: () => T
  readonly codec: Codec<T> | undefined
  readonly onResume: 'keep' | 'reset'
  readonly shared: boolean
}

/** Makes a slot. Its name is `module.value` and must never change: the value is found by it after a restart. */
export function slot<T> (
  name: string, how: { initial: () => T, codec?: Codec<T>, onResume?: 'keep' | 'reset', shared?: boolean },
): Slot<T> {
  return { name, initial: how.initial, codec: how.codec, onResume: how.onResume ?? 'keep', shared: how.shared ?? false }
}

/** Values by typed name. One name has one type, so a value is read with the type that it was stored with. */
export class Named {
  readonly #values = new Map<string, unknown>()

  has (name: { readonly name: string }): boolean { return this.#values.has(name.name) }
  get<T> (name: { readonly name: string, readonly type?: T }): T | undefined {
    return this.#values.get(name.name) as T | undefined
  }
  /** Returns the value. If there is none, makes it and keeps it. */
  made<T> (name: { readonly name: string, readonly type?: T }, make: () => T): T {
    if (!this.has(name)) this.put(name, make())
    return this.#values.get(name.name) as T
  }

  put<T> (name: { readonly name: string, readonly type?: T }, value: T): void { this.#values.set(name.name, value) }
  delete (name: { readonly name: string }): void { this.#values.delete(name.name) }
}

/** Writes a boolean as text. */
export const flag: Codec<boolean> = {
  write: value => value ? '1' : '0',
  read: text => text === '1',
}

/** The name of what one module offers to others. Both import it, and the type comes with it. */
export interface Service<T> { readonly name: string, readonly type?: T }

export function service<T> (name: string): Service<T> {
  return { name }
}
