/** A pair of domains: a local one and that of another server. */

/** The pair of domains in a dialback element. */
export interface DialbackAddresses { readonly from: string, readonly to: string }

/** Returns a pair of domains as one key. No domain contains a space. */
export function pairKey (local: string, remote: string): string { return `${local} ${remote}` }

/** Returns the domains of a key, from remote to local. */
export function addressesIn (pair: string): DialbackAddresses {
  const [to = '', from = ''] = pair.split(' ')
  return { from, to }
}
