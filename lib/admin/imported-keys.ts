/** Reads SCRAM keys from files of accounts: in the form of XEP-0227 §4.3, and in the forms that ejabberd writes. */
import { strictBase64 } from '../auth/base64.js'
import { HASHES, type HashName, type Keys } from '../auth/keys.js'
import { shortened } from '../base/text.js'
import { attributeOf, child, textOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError } from '../xmpp/errors.js'

/** The SCRAM keys of an account, and the hash that they are for. */
export interface Credentials { readonly hash: HashName, readonly keys: Keys }

const HASH_OF: ReadonlyMap<string, HashName> = new Map([['SCRAM-SHA-1', 'sha-1'], ['SCRAM-SHA-256', 'sha-256'], ['SCRAM-SHA-512', 'sha-512']])
/** With more iterations, a login would cost the server too much. The conf file has the same limit. */
const MOST_ITERATIONS = 1_000_000
const LONGEST_SALT = 1024

/** Reads the keys of XEP-0227 §4.3. Throws StanzaError if a login cannot be checked against them. */
export function credentialsIn (element: Element): Credentials {
  const part = (name: string): string => {
    const found = child(element, NS.PIE_SCRAM, name)
    if (found === undefined) throw wrong(`<${name}/> is missing`)
    return textOf(found).trim()
  }
  const mechanism = attributeOf(element, 'mechanism') ?? ''
  const hash = HASH_OF.get(mechanism)
  if (hash === undefined) throw wrong(`'${shortened(mechanism, 40)}' is not supported here`)
  return credentialsOf(hash, { iterations: part('iter-count'), salt: part('salt'), storedKey: part('stored-key'), serverKey: part('server-key') })
}

/**
 * COMPAT(ejabberd, before 20.12): wrote the keys into the password attribute, as
 * `scram:StoredKey,ServerKey,salt,iterations`, in later versions with the name of the hash before them. Returns
 * undefined if the text is a password. Throws StanzaError if the text has that form but the keys are wrong.
 */
export function credentialsInPassword (password: string): Credentials | undefined {
  const found = OLD.exec(password)
  if (found === null) return undefined
  const [, name = 'sha', storedKey = '', serverKey = '', salt = '', iterations = ''] = found
  const hash = OLD_HASHES.get(name)
  if (hash === undefined) throw wrong(`the hash '${shortened(name, 40)}' is not known here`)
  return credentialsOf(hash, { iterations, salt, storedKey, serverKey })
}

const OLD = /^scram:(?:([a-z0-9]+),)?([^,]+),([^,]+),([^,]+),(\d+)$/
const OLD_HASHES: ReadonlyMap<string, HashName> = new Map([['sha', 'sha-1'], ['sha256', 'sha-256'], ['sha512', 'sha-512']])

/** Keys as another server has written them, not yet decoded. */
export interface Written {
  readonly iterations: string
  readonly salt: string
  readonly storedKey: string
  readonly serverKey: string
}

/** Checks and decodes keys. Throws StanzaError if a login cannot be checked against them. */
export function credentialsOf (hash: HashName, written: Written): Credentials {
  const iterations = /^[1-9]\d{0,6}$/.test(written.iterations) ? Number(written.iterations) : MOST_ITERATIONS + 1
  if (iterations > MOST_ITERATIONS) throw wrong(`not a number of iterations up to ${MOST_ITERATIONS}`)
  const { storedKey, serverKey, salt } = decoded(hash, written)
  if (salt.length === 0 || salt.length > LONGEST_SALT) throw wrong('not a salt')
  return {
    hash,
    keys: { salt: salt.toString('base64'), iterations, storedKey: storedKey.toString('base64'), serverKey: serverKey.toString('base64') },
  }
}

interface Decoded { readonly storedKey: Buffer, readonly serverKey: Buffer, readonly salt: Buffer }

/**
 * COMPAT(ejabberd, up to Debian's 23.01): its database has the keys in base64, and its export encodes them once more.
 * The keys have the size of the hash after either one decoding or two, and the salt is encoded as often as they are.
 */
function decoded (hash: HashName, written: Written): Decoded {
  const { size } = HASHES[hash]
  for (const times of [1, 2]) {
    const texts = [written.storedKey, written.serverKey, written.salt]
    const [storedKey, serverKey, salt] = texts.map(text => bytesOf(text, times))
    if (storedKey?.length !== size || serverKey?.length !== size) continue
    if (salt === undefined) throw wrong('not a salt')
    return { storedKey, serverKey, salt }
  }
  throw wrong(`not keys of SCRAM-${hash.toUpperCase()}`)
}

/** The most characters of a salt that is encoded twice. */
const LONGEST = 2 * LONGEST_SALT

function bytesOf (text: string, times: number): Buffer | undefined {
  const bytes = text.length > LONGEST ? undefined : strictBase64(text)
  return bytes === undefined || times === 1 ? bytes : strictBase64(bytes.toString('latin1'))
}

function wrong (text: string): StanzaError { return new StanzaError('not-acceptable', text) }
