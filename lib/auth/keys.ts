/** What is kept of a password: salted keys (RFC 5802 §3), from which it cannot be read back. */
import { createHash, createHmac, pbkdf2, randomBytes } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { promisify } from 'node:util'
import { saslPrep } from '../xmpp/prep.js'

export type HashName = 'sha-1' | 'sha-256' | 'sha-512'
export const HASH_NAMES: readonly HashName[] = ['sha-1', 'sha-256', 'sha-512']

/** Node's names of the hashes, and the bytes they yield. */
export const HASHES = {
  'sha-1': { digest: 'sha1', size: 20 },
  'sha-256': { digest: 'sha256', size: 32 },
  'sha-512': { digest: 'sha512', size: 64 },
} as const satisfies Record<HashName, { digest: string, size: number }>

/** The keys of one password under one hash, as they are stored: base64. */
export interface Keys {
  readonly salt: string
  readonly iterations: number
  readonly storedKey: string
  readonly serverKey: string
}

/** A password that is empty, too short, or longer than MOST_BYTES. */
export class PasswordError extends Error {}
/** Too many passwords wait to be derived. */
export class Overloaded extends Error {}

/** The most bytes a prepared password may have. */
export const MOST_BYTES = 1024
export const SALT_SIZE = 16
const pbkdf2InPool = promisify(pbkdf2)

/** The password as clients hash it (RFC 5802 §2.2, but for newer characters: see `saslPrep`). Throws PasswordError, PrepError. */
export function preparePassword (password: string): string {
  // Before the preparation, which costs more the longer its input is.
  if (password.length > MOST_BYTES) throw new PasswordError('the password is too long')
  const prepared = saslPrep(password)
  if (prepared === '') throw new PasswordError('the password is empty')
  if (Buffer.byteLength(prepared) > MOST_BYTES) throw new PasswordError('the password is too long')
  return prepared
}

/** A password that is set from now on, prepared; its least length counts characters. Throws PasswordError, PrepError. */
export function prepareNewPassword (password: string, shortest: number): string {
  const prepared = preparePassword(password)
  if (Array.from(prepared).length >= shortest) return prepared
  throw new PasswordError(`the password is too short: it has to have at least ${shortest} characters`)
}

/** PBKDF2 in the thread pool: few at once, so that the loop keeps its core, and the rest in a line with an end. */
export class Derivations {
  readonly #atOnce: number
  readonly #most: number
  readonly #line: (() => void)[] = []
  #running = 0

  constructor (how: { readonly atOnce?: number, readonly waiting?: number } = {}) {
    this.#atOnce = how.atOnce ?? Math.max(1, availableParallelism() - 1)
    this.#most = how.waiting ?? 512
  }

  /** How many wait for their turn. */
  get waiting (): number { return this.#line.length }

  /** SaltedPassword of RFC 5802 §3. Rejects with Overloaded where the line is full. */
  async derive (password: string, salt: Uint8Array, iterations: number, hash: HashName): Promise<Buffer> {
    const { digest, size } = HASHES[hash]
    await this.#turn()
    try {
      return await pbkdf2InPool(password, salt, iterations, size, digest)
    } finally {
      this.#running--
      this.#line.shift()?.()
    }
  }

  async #turn (): Promise<void> {
    if (this.#running >= this.#atOnce) {
      if (this.#line.length >= this.#most) throw new Overloaded('too many passwords are being checked')
      await new Promise<void>(resolve => { this.#line.push(() => { this.#running++; resolve() }) })
    } else {
      this.#running++
    }
  }
}

/** The one line of this process, for all its hosts: they share the thread pool. */
export const sharedDerivations = new Derivations()

/** New keys for a prepared password, under a new salt. */
export async function newKeys (password: string, hash: HashName, iterations: number, derivations: Derivations): Promise<Keys> {
  const salt = randomBytes(SALT_SIZE)
  const salted = await derivations.derive(password, salt, iterations, hash)
  return { salt: salt.toString('base64'), iterations, ...keysFrom(salted, hash) }
}

/** StoredKey and ServerKey of a SaltedPassword (RFC 5802 §3). */
export function keysFrom (salted: Uint8Array, hash: HashName): { readonly storedKey: string, readonly serverKey: string } {
  const { digest } = HASHES[hash]
  const clientKey = createHmac(digest, salted).update('Client Key').digest()
  return {
    storedKey: createHash(digest).update(clientKey).digest('base64'),
    serverKey: createHmac(digest, salted).update('Server Key').digest('base64'),
  }
}
