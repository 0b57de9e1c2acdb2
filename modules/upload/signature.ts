/** Signs slots: who has the signature may send the file, and who has only the address of the file may not. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { hasForm } from '../../lib/api.js'
import type { Records } from '../../lib/api.js'

/** The claim that a signature proves. `until`: in milliseconds since 1970. */
export interface Claim { readonly id: string, readonly account: string, readonly until: number }

const KEY = 'slots'
const SECRET_BYTES = 32

export class Signatures {
  readonly #stored: Records<string>
  readonly #domain: string
  #secret: Promise<string> | undefined

  /** `domain`: the service, which has a secret of its own. */
  constructor (stored: Records<string>, domain: string) {
    this.#stored = stored
    this.#domain = domain
  }

  /** Makes the secret of the service if there is none. */
  async prepare (): Promise<void> { await this.#key() }

  /** Returns the value of Authorization for a slot. */
  async sign (claim: Claim): Promise<string> {
    const text = Buffer.from(JSON.stringify(claim)).toString('base64url')
    return `Bearer ${text}.${macOf(text, await this.#key()).toString('base64url')}`
  }

  /** Returns what a value of Authorization proves; undefined if it is not ours. It may have expired. */
  async read (authorization: string | undefined): Promise<Claim | undefined> {
    const [, text = '', mac = ''] = /^Bearer ([\w-]{1,8000})\.([\w-]{1,100})$/i.exec(authorization ?? '') ?? []
    if (text === '') return undefined
    const wanted = macOf(text, await this.#key())
    const given = Buffer.from(mac, 'base64url')
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return undefined
    const claim: unknown = JSON.parse(Buffer.from(text, 'base64url').toString())
    return isClaim(claim) ? claim : undefined
  }

  /** Returns the secret of the service. It is made once. */
  #key (): Promise<string> {
    return this.#secret ??= this.#made().catch((error: unknown) => {
      this.#secret = undefined
      throw error
    })
  }

  async #made (): Promise<string> {
    let secret = ''
    await this.#stored.change(this.#domain, old => {
      secret = old.get(KEY) ?? randomBytes(SECRET_BYTES).toString('base64url')
      return new Map(old.has(KEY) ? [] : [[KEY, secret]])
    })
    return secret
  }
}

function isClaim (value: unknown): value is Claim & Readonly<Record<string, unknown>> {
  return hasForm(value, { id: 'string', account: 'string', until: 'number' })
}

function macOf (text: string, key: string): Buffer { return createHmac('sha256', key).update(text).digest() }
