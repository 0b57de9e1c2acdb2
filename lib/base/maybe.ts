/** A value, or the promise of one: what is at hand costs no promise. */

export type Maybe<T> = T | Promise<T>

/** Goes on with the value, at once where it is at hand. */
export function follow<T, R> (value: Maybe<T>, next: (value: T) => Maybe<R>): Maybe<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}
