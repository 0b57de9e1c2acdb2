/** The stored form of a password: salted keys (RFC 5802 §3). The password cannot be found from them. */
import { createHash, createHmac, pbkdf2, randomBytes } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { promisify } from 'node:util'
import { Semaphore } from '../base/semaphore.js'
import { saslPrep } from '../xmpp/prep.js'

export type HashName = 'sha-1' | 'sha-256' | 'sha-512'
export const HASH_NAMES: readonly HashName[] = ['sha-1', 'sha-256', 'sha-512']

/** Node's names of the hashes, and their sizes in bytes. */
export const HASHES = {
  'sha-1': { digest: 'sha1', size: 20 },
  'sha-256': { digest: 'sha256', size: 32 },
  'sha-512': { digest: 'sha512', size: 64 },
} as const satisfies Record<HashName, { digest: string, size: number }>

/** The keys of one password under one hash, in base64 as they are stored. */
export interface Keys {
  readonly salt: string
  readonly iterations: number
  readonly storedKey: string
  readonly serverKey: string
}

/** Thrown for a password that is empty, too short, or longer than MOST_BYTES. */
export class PasswordError extends Error {}
/** Thrown if too many passwords wait to be derived. */
export class Overloaded extends Error {}

/** The most bytes in a prepared password. */
export const MOST_BYTES = 1024
export const SALT_SIZE = 16
const pbkdf2InPool = promisify(pbkdf2)

/**
 * Prepares a password as clients do (RFC 5802 §2.2, with newer characters: see `saslPrep`). Throws PasswordError,
 * PrepError.
 */
export function preparePassword (password: string): string {
  // Checked before the preparation, which costs more for longer input.
  if (password.length > MOST_BYTES) throw new PasswordError('the password is too long')
  const prepared = saslPrep(password)
  if (prepared === '') throw new PasswordError('the password is empty')
  if (Buffer.byteLength(prepared) > MOST_BYTES) throw new PasswordError('the password is too long')
  return prepared
}

/** Prepares a new password. `shortest` counts characters. Throws PasswordError, PrepError. */
export function prepareNewPassword (password: string, shortest: number): string {
  const prepared = preparePassword(password)
  if (Array.from(prepared).length >= shortest) return prepared
  throw new PasswordError(`the password is too short: it must have at least ${shortest} characters`)
}

/**
 * Runs PBKDF2 in the thread pool: few at once, so that the event loop keeps its core. The others wait in a bounded
 * line.
 */
export class Derivations {
  readonly #line: Semaphore

  constructor (how: { readonly atOnce?: number, readonly waiting?: number } = {}) {
    this.#line = new Semaphore(how.atOnce ?? Math.max(1, availableParallelism() - 1), how.waiting ?? 512)
  }

  /** The number of waiting derivations. */
  get waiting (): number { return this.#line.waiting }

  /** Returns the SaltedPassword (RFC 5802 §3). Rejects with Overloaded if the line is full. */
  async derive (password: string, salt: Uint8Array, iterations: number, hash: HashName): Promise<Buffer> {
    const { digest, size } = HASHES[hash]
    const derived = this.#line.run(() => pbkdf2InPool(password, salt, iterations, size, digest))
    if (derived === undefined) throw new Overloaded('too many passwords are being checked')
    return await derived
  }
}

/** Shared by all hosts of this process, because they share the thread pool. */
export const sharedDerivations = new Derivations()

/** Makes new keys for a prepared password, with a new salt. */
export async function newKeys (
  password: string, hash: HashName, iterations: number, derivations: Derivations,
): Promise<Keys> {
  const salt = randomBytes(SALT_SIZE)
  const salted = await derivations.derive(password, salt, iterations, hash)
  return { salt: salt.toString('base64'), iterations, ...keysFrom(salted, hash) }
}

/** Returns StoredKey and ServerKey of a SaltedPassword (RFC 5802 §3). */
export function keysFrom (salted: Uint8Array, hash: HashName): Pick<Keys, 'storedKey' | 'serverKey'> {
  const { digest } = HASHES[hash]
  const clientKey = createHmac(digest, salted).update('Client Key').digest()
  return {
    storedKey: createHash(digest).update(clientKey).digest('base64'),
    serverKey: createHmac(digest, salted).update('Server Key').digest('base64'),
  }
}
