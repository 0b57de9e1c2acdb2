/**
 * How the keys of a host's accounts look to a client that asks for a salt. Made-up keys of unknown accounts must look
 * the same.
 */
import { createHash, createHmac } from 'node:crypto'
import { HASHES, HASH_NAMES, SALT_SIZE, type HashName, type Keys } from './keys.js'

/** The keys of one account; an imported one may lack some hashes. */
export type AccountKeys = { readonly [hash in HashName]?: Keys }

/** The keys of one hash as a client sees them. `isUuid`: the salt is the text of a UUID, as Prosody makes it. */
interface Look { readonly iterations: number, readonly saltSize: number, readonly isUuid: boolean }

/** A group of accounts whose keys look the same under every hash. */
interface Kind { readonly name: string, readonly looks: ReadonlyMap<HashName, Look>, accounts: number }

/** The stored form: the number of accounts of each kind, and the kind that the first made-up salts were based on. */
export interface StoredKinds { readonly kinds: Readonly<Record<string, number>>, readonly first: string }

/** The most kinds: those of this server's keys and of imported ones. Further kinds are not counted. */
const MOST_KINDS = 64

export class KeyProfiles {
  readonly #secret: Uint8Array
  readonly #usual: Kind
  readonly #first: string
  readonly #kinds = new Map<string, Kind>()

  readonly #save: (kinds: StoredKinds) => Promise<void>
  /** `#unsaved`: the kinds in memory are not stored yet. `#saving`: they are being stored. */
  #unsaved = false
  #saving = false

  /** `iterations` is the number in the keys that this server makes. `save` stores the kinds. */
  constructor (
    secret: Uint8Array, iterations: number, stored?: StoredKinds, save?: (kinds: StoredKinds) => Promise<void>,
  ) {
    this.#secret = secret
    this.#save = save ?? (() => Promise.resolve())
    this.#usual = kindNamed(HASH_NAMES.map(hash => `${hash}:${iterations}:${SALT_SIZE}`).join(' '))
    this.#first = stored?.first ?? this.#usual.name
    for (const [name, accounts] of Object.entries(stored?.kinds ?? {})) {
      this.#kinds.set(name, { ...kindNamed(name), accounts })
    }
  }

  get stored (): StoredKinds {
    const kinds = Object.fromEntries([...this.#kinds].map(([name, { accounts }]) => [name, accounts]))
    return { kinds, first: this.#first }
  }

  /**
   * Notes that an account's keys have changed. Undefined means that the account did not exist before, or was removed.
   */
  moved (before: AccountKeys | undefined, after: AccountKeys | undefined): void {
    const [from, to] = [nameOf(before), nameOf(after)]
    if (from === to) return
    const left = this.#kinds.get(from)
    if (left !== undefined && --left.accounts <= 0) this.#kinds.delete(from)
    const joined = this.#kinds.get(to)
    if (joined !== undefined) joined.accounts++
    else if (to !== '' && this.#kinds.size < MOST_KINDS) this.#kinds.set(to, { ...kindNamed(to), accounts: 1 })
    this.#unsaved = true
    if (!this.#saving) void this.save().catch(() => {})
  }

  /** Stores the kinds. They are only counts, so it does no harm if the last change is lost. */
  async save (): Promise<void> {
    this.#saving = true
    try {
      await this.#save(this.#taken())
      while (this.#unsaved) await this.#save(this.#taken())
    } finally {
      this.#saving = false
    }
  }

  #taken (): StoredKinds {
    this.#unsaved = false
    return this.stored
  }

  /**
   * Makes up keys for an unknown account, for the first of these hashes that its kind has. They are the same each time,
   * and no password matches them (RFC 5802 §9 leaves open how an unknown name is answered). A keyed hash of the name
   * chooses the kind, each as often as accounts have it, so that neither the iterations nor the salt tell which
   * accounts exist.
   */
  keysFor (local: string, hashes: readonly HashName[]): { readonly hash: HashName, readonly keys: Keys } {
    const kind = this.#draw(local, hashes)
    const hash = hashes.find(hash => kind.looks.has(hash)) ?? 'sha-256'
    const look = kind.looks.get(hash) ?? { iterations: 0, saltSize: SALT_SIZE, isUuid: false }
    const { digest, size } = HASHES[hash]
    // A name that moves to another kind gets another salt, as an account does that sets a new password.
    const place = kind.name === this.#first ? '' : ` ${kind.name}`
    return {
      hash,
      keys: {
        salt: saltOf(this.#keyed(`salt ${digest} ${local}${place}`), look).toString('base64'),
        iterations: look.iterations,
        storedKey: this.#keyed(`stored ${digest} ${local}`).toString('base64', 0, size),
        serverKey: this.#keyed(`server ${digest} ${local}`).toString('base64', 0, size),
      },
    }
  }

  /**
   * Chooses a kind by weighted rendezvous hashing: a kind that loses accounts loses names, one that gains accounts
   * gains names, and no other name moves. So made-up accounts move as real ones do when passwords change.
   */
  #draw (local: string, hashes: readonly HashName[]): Kind {
    let drawn: Kind | undefined
    let least = Infinity
    for (const kind of this.#kinds.values()) {
      if (!hashes.some(hash => kind.looks.has(hash))) continue
      const chance = (this.#keyed(`kind ${local} ${kind.name}`).readUIntBE(0, 6) + 1) / 2 ** 48
      const score = -Math.log(chance) / kind.accounts
      if (drawn !== undefined && score >= least) continue
      drawn = kind
      least = score
    }
    return drawn ?? this.#usual
  }

  #keyed (text: string): Buffer { return createHmac('sha512', this.#secret).update(text).digest() }
}

/**
 * Returns the name of a kind; empty for an account without keys. Nobody can log in to that, and it is answered like an
 * unknown one.
 */
function nameOf (keys: AccountKeys | undefined): string {
  return HASH_NAMES.map(hash => keys?.[hash] === undefined ? '' : ` ${hash}:${lookOf(keys[hash])}`).join('').trim()
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

function lookOf ({ salt, iterations }: Keys): string {
  const bytes = Buffer.from(salt, 'base64')
  return `${iterations}:${UUID.test(bytes.toString('latin1')) ? 'uuid' : bytes.length}`
}

function kindNamed (name: string): Kind {
  const looks = new Map<HashName, Look>()
  for (const part of name.split(' ')) {
    const [named, iterations, salt] = part.split(':')
    const hash = HASH_NAMES.find(hash => hash === named)
    if (hash === undefined) continue
    const isUuid = salt === 'uuid'
    looks.set(hash, { iterations: Number(iterations), saltSize: isUuid ? SALT_SIZE : Number(salt), isUuid })
  }
  return { name, looks, accounts: 0 }
}

/** Makes a salt of this form from 64 bytes. */
function saltOf (bytes: Buffer, { saltSize, isUuid }: Look): Buffer {
  if (isUuid) return Buffer.from(uuidOf(bytes))
  if (saltSize <= bytes.length) return bytes.subarray(0, saltSize)
  return createHash('shake256', { outputLength: saltSize }).update(bytes).digest()
}

/** Makes a UUID of version 4 (RFC 9562 §5.4). */
function uuidOf (bytes: Buffer): string {
  const variant = ((bytes[8] ?? 0) & 0x3f | 0x80).toString(16)
  return bytes.toString('hex', 0, SALT_SIZE).replace(/^(.{8})(.{4}).(.{3})..(..)(.{12})$/, `$1-$2-4$3-${variant}$4-$5`)
}
