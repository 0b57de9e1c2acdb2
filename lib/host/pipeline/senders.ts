/** Who is counted for a stanza, where senders share room. */
import { siteOf } from '../../base/network.js'
import type { Passage } from './passage.js'

/**
 * Returns an account or entity of this server; or a site (another domain with its subdomains), then the user there. A
 * domain's owner can make any number of subdomains and of users, so they are one group.
 */
export function sendersOf ({ addressed: { from }, session, peer }: Passage): readonly string[] {
  if (session !== undefined) return [session.account.toString()]
  const bare = from.bare.toString()
  return peer === undefined ? [bare] : [siteOf(from.domain), bare]
}
