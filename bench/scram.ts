/**
 * The client side of SCRAM (RFC 5802, RFC 7677). It keeps salted passwords, so that only an account's first login is
 * slow.
 */
import { createHash, createHmac, pbkdf2, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'

/** The mechanisms the bench can log in with. */
export type Mechanism = 'SCRAM-SHA-1' | 'SCRAM-SHA-256'

/** The keys that a server stores for a password. */
export interface StoredKeys {
  readonly salt: string
  readonly iterations: number
  readonly storedKey: Buffer
  readonly serverKey: Buffer
}

/** One login: first() returns the initial response, last() the answer to the challenge. */
export class ScramClient {
  readonly #mechanism: Mechanism
  readonly #password: string
  readonly #bare: string

  constructor (mechanism: Mechanism, user: string, password: string) {
    this.#mechanism = mechanism
    this.#password = password
    this.#bare = `n=${user},r=${randomBytes(15).toString('base64')}`
  }

  /** Returns the initial response, in base64. */
  first (): string {
    return base64(`n,,${this.#bare}`)
  }

  /** Returns the answer to the server's challenge (both in base64). Throws if the challenge is not valid. */
  async last (challenge: string): Promise<string> {
    const serverFirst = Buffer.from(challenge, 'base64').toString()
    const [, nonce, salt, iterations] = /^r=([^,]+),s=([^,]+),i=(\d+)/.exec(serverFirst) ?? []
    if (nonce === undefined || salt === undefined || iterations === undefined) throw new Error(`not a SCRAM challenge: ${serverFirst}`)
    const hash = digestOf(this.#mechanism)
    const salted = await saltedPassword(hash, this.#password, salt, Number(iterations))
    const clientKey = hmac(hash, salted, 'Client Key')
    const withoutProof = `c=biws,r=${nonce}`
    const signature = hmac(hash, digest(hash, clientKey), `${this.#bare},${serverFirst},${withoutProof}`)
    const proof = clientKey.map((byte, i) => byte ^ (signature[i] ?? 0))
    return base64(`${withoutProof},p=${Buffer.from(proof).toString('base64')}`)
  }
}

/**
 * Returns the keys that a server stores, for accounts that are written directly to its storage. `salt` is not in
 * base64.
 */
export async function storedKeys (
  mechanism: Mechanism, password: string, salt: string, iterations: number,
): Promise<StoredKeys> {
  const hash = digestOf(mechanism)
  const salted = await saltedPassword(hash, password, base64(salt), iterations)
  return { salt, iterations, storedKey: digest(hash, hmac(hash, salted, 'Client Key')), serverKey: hmac(hash, salted, 'Server Key') }
}

const deriveKey = promisify(pbkdf2)
const MOST_KEPT = 20_000
const kept = new Map<string, Buffer>()

async function saltedPassword (hash: string, password: string, salt: string, iterations: number): Promise<Buffer> {
  const key = `${hash} ${salt} ${iterations} ${password}`
  const known = kept.get(key)
  if (known !== undefined) return known
  const salted = await deriveKey(password, Buffer.from(salt, 'base64'), iterations, hash === 'sha1' ? 20 : 32, hash)
  if (kept.size < MOST_KEPT) kept.set(key, salted)
  return salted
}

function digestOf (mechanism: Mechanism): string {
  return mechanism === 'SCRAM-SHA-1' ? 'sha1' : 'sha256'
}

function digest (hash: string, bytes: Buffer): Buffer {
  return createHash(hash).update(bytes).digest()
}

function hmac (hash: string, key: Buffer, text: string): Buffer {
  return createHmac(hash, key).update(text).digest()
}

function base64 (text: string): string {
  return Buffer.from(text).toString('base64')
}
