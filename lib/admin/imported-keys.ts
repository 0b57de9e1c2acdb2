/** The keys of SCRAM as files of accounts have them: XEP-0227 §4.3, and what versions of ejabberd write in its place. */
import { strictBase64 } from '../auth/base64.js'
import { HASHES, type HashName, type Keys } from '../auth/keys.js'
import { shortened } from '../base/text.js'
import { attributeOf, child, textOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError } from '../xmpp/errors.js'

export interface Credentials { readonly hash: HashName, readonly keys: Keys }

const HASH_OF: ReadonlyMap<string, HashName> = new Map([['SCRAM-SHA-1', 'sha-1'], ['SCRAM-SHA-256', 'sha-256'], ['SCRAM-SHA-512', 'sha-512']])
/** Beyond it a login would cost the server too much; the conf allows no more either. */
const MOST_ITERATIONS = 1_000_000
const LONGEST_SALT = 1024

/** XEP-0227 §4.3. Throws StanzaError where it is anything but keys that a login can be checked against. */
export function credentialsIn (element: Element): Credentials {
  const part = (name: string): string => {
    const found = child(element, NS.PIE_SCRAM, name)
    if (found === undefined) throw wrong(`no <${name}/>`)
    return textOf(found).trim()
  }
  const mechanism = attributeOf(element, 'mechanism') ?? ''
  const hash = HASH_OF.get(mechanism)
  if (hash === undefined) throw wrong(`'${shortened(mechanism, 40)}' is not spoken here`)
  return credentialsOf(hash, { iterations: part('iter-count'), salt: part('salt'), storedKey: part('stored-key'), serverKey: part('server-key') })
}

/**
 * COMPAT(ejabberd, before 20.12): wrote the keys into the attribute of the password, as `scram:StoredKey,ServerKey,salt,iterations`, later
 * with the name of the hash in front. Undefined: it is a password. Throws StanzaError where it has that form, but no such keys.
 */
export function credentialsInPassword (password: string): Credentials | undefined {
  const [, name = 'sha', storedKey, serverKey, salt, iterations] = OLD.exec(password) ?? []
  if (storedKey === undefined || serverKey === undefined || salt === undefined || iterations === undefined) return undefined
  const hash = OLD_HASHES.get(name)
  if (hash === undefined) throw wrong(`the hash '${shortened(name, 40)}' is not known here`)
  return credentialsOf(hash, { iterations, salt, storedKey, serverKey })
}

const OLD = /^scram:(?:([a-z0-9]+),)?([^,]+),([^,]+),([^,]+),(\d+)$/
const OLD_HASHES: ReadonlyMap<string, HashName> = new Map([['sha', 'sha-1'], ['sha256', 'sha-256'], ['sha512', 'sha-512']])

/** Keys as another server has written them. */
export interface Written { readonly iterations: string, readonly salt: string, readonly storedKey: string, readonly serverKey: string }

/** Checks them. Throws StanzaError if no login can be checked against them. */
export function credentialsOf (hash: HashName, written: Written): Credentials {
  const iterations = /^[1-9]\d{0,6}$/.test(written.iterations) ? Number(written.iterations) : MOST_ITERATIONS + 1
  if (iterations > MOST_ITERATIONS) throw wrong(`not a count of iterations up to ${MOST_ITERATIONS}`)
  const { storedKey, serverKey, salt } = decoded(hash, written)
  if (salt.length === 0 || salt.length > LONGEST_SALT) throw wrong('not a salt')
  return {
    hash,
    keys: { salt: salt.toString('base64'), iterations, storedKey: storedKey.toString('base64'), serverKey: serverKey.toString('base64') },
  }
}

interface Decoded { readonly storedKey: Buffer, readonly serverKey: Buffer, readonly salt: Buffer }

/**
 * COMPAT(ejabberd, up to Debian's 23.01): encodes in base64 what stands in its database in base64. The keys tell: their size is that of
 * the hash after one decoding or after two, and the salt is written as they are.
 */
function decoded (hash: HashName, written: Written): Decoded {
  const { size } = HASHES[hash]
  for (const times of [1, 2]) {
    const [storedKey, serverKey, salt] = [written.storedKey, written.serverKey, written.salt].map(text => bytesOf(text, times))
    if (storedKey?.length !== size || serverKey?.length !== size) continue
    if (salt === undefined) throw wrong('not a salt')
    return { storedKey, serverKey, salt }
  }
  throw wrong(`not keys of SCRAM-${hash.toUpperCase()}`)
}

/** Characters of base64 in base64 of the longest salt. */
const LONGEST = 2 * LONGEST_SALT

function bytesOf (text: string, times: number): Buffer | undefined {
  const bytes = text.length > LONGEST ? undefined : strictBase64(text)
  return bytes === undefined || times === 1 ? bytes : strictBase64(bytes.toString('latin1'))
}

function wrong (text: string): StanzaError { return new StanzaError('not-acceptable', text) }
