/** The outcomes of commits, and of other promises that may fail. */
import type { Write } from '../../lib/storage/store.js'
import type { Storage } from '../../lib/storage/storage.js'

/** Resolves once these writes are stored; throws if they are not. */
export function stored (storage: Storage, writes: readonly Write[]): Promise<void> {
  const number = storage.submit(writes)
  return new Promise((resolve, reject) => {
    storage.after(number, error => { if (error === undefined) resolve(); else reject(error) })
  })
}

/** Resolves with the promise's rejection, or with undefined if it fulfils. */
export function failureOf (promise: Promise<unknown>): Promise<unknown> {
  return promise.then(() => undefined, (error: unknown) => error)
}
