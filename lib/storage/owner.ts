/** The hosts of owners, and walks over the owners of one host. */

/** A request for owners, in order. */
export interface OwnersPage {
  /**
   * Only owners at this host: the host itself, and the bare addresses there. The store must be declared with `byHost`.
   * Owners come in the order of their local parts, and the host itself comes first.
   */
  readonly host?: string | undefined
  readonly after?: string | undefined
  readonly limit: number
}

/** Owners that a walk reads at a time. */
const PAGE = 500

/** An owner in two parts: `prefix` is `romeo@` or empty, and both together are the owner. */
export interface OwnerParts { readonly host: string, readonly prefix: string }

/** Splits a bare address (RFC 7622 §3.1) before its domain. Any other text counts as a host of its own. */
export function splitOwner (owner: string): OwnerParts {
  const at = owner.indexOf('@')
  const slash = owner.indexOf('/')
  if (at < 0 || slash >= 0 && slash < at) return { host: owner, prefix: '' }
  return { host: owner.slice(at + 1), prefix: owner.slice(0, at + 1) }
}

/** Returns the part of an owner at this host by which a page goes on after it. */
export function prefixAt (owner: string, host: string): string {
  const parts = splitOwner(owner)
  if (parts.host !== host) throw new RangeError('the owner after which a page begins must be at its host')
  return parts.prefix
}

/** The most listed owners that are looked at together. */
const LOOKED_AT = 1000

/**
 * Returns a page of the owners at a host from a list that may have owners who hold nothing any more. `look` returns the
 * next prefixes in order after one of them, and whether their owners hold anything; `gone` gets the owners who do not.
 */
export async function listedOwners (
  { host, after, limit }: OwnersPage & { readonly host: string },
  look: (prefix: string | undefined, most: number) => Promise<readonly (readonly [prefix: string, here: unknown])[]>,
  gone: (owners: readonly string[]) => void,
): Promise<readonly string[]> {
  const owners: string[] = []
  const left: string[] = []
  let last = after === undefined ? undefined : prefixAt(after, host)
  while (owners.length < limit) {
    const most = Math.min(limit - owners.length, LOOKED_AT)
    const found = await look(last, most)
    for (const [prefix, isHere] of found) (isHere === true || isHere === 1 ? owners : left).push(prefix + host)
    last = found.at(-1)?.[0]
    if (found.length < most || last === undefined) break
  }
  if (left.length > 0) gone(left)
  return owners
}

/** Yields the owners of a store at one host, a page at a time. The store must be declared with `byHost`. */
export async function * ownersAt (
  store: { owners (page: OwnersPage): Promise<readonly string[]> }, host: string,
): AsyncGenerator<string> {
  for (let after: string | undefined; ;) {
    const owners = await store.owners({ host, limit: PAGE, ...after === undefined ? {} : { after } })
    yield * owners
    after = owners.at(-1)
    if (owners.length < PAGE || after === undefined) return
  }
}
