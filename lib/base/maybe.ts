/** A value or a promise of it: a value that is there already needs no promise. */

export type Maybe<T> = T | Promise<T>

/** Calls `next` with the value: at once, or after the promise. */
export function follow<T, R> (value: Maybe<T>, next: (value: T) => Maybe<R>): Maybe<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}
