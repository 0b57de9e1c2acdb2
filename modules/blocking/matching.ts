/** XEP-0191 §2.2: which addresses an item of a block list blocks. Pure functions. */
import type { Jid } from '../../lib/api.js'

/**
 * True if an item of the list matches (§2.2: full address, bare address, domain, domain with resource). The account
 * itself and its server are never blocked: nothing works without them.
 */
export function matches (list: ReadonlySet<string>, account: Jid, other: Jid): boolean {
  if (list.size === 0 || other.bare.equals(account.bare) || other.toString() === account.domain) return false
  return list.has(other.toString()) || list.has(other.bare.toString()) || list.has(other.domain) ||
    other.resource !== '' && list.has(`${other.domain}/${other.resource}`)
}

/** Returns addresses in the form of a block list. */
export function textsOf (jids: readonly Jid[]): ReadonlySet<string> {
  return new Set(jids.map(jid => jid.toString()))
}
