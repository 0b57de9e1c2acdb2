/** Whether the certificate of a server that calls us stands for the domain it claims: by an authority, or by what DNS says (DANE). */
import type { Maybe } from '../base/maybe.js'
import type { TlsInfo } from '../stream/transport.js'
import { doubtOf, NOT_NAMED } from './dane.js'
import { NoServer, type Target } from './resolve.js'
import { distrust } from './trust.js'
import type { FederationWorld } from './world.js'

/**
 * Why it does not; undefined if it does. With DANE on, DNS is asked, as it is for a server that we call (RFC 7673 §4): if the domain names
 * the certificates of its servers, no other counts, whatever authority has signed it. Whoever is refused may still prove the domain by
 * dialback, for which a server is called that shows the certificate in DNS. The promise never rejects.
 */
export function doubtOfCaller (
  { resolver, policy, clock }: Pick<FederationWorld, 'resolver' | 'policy' | 'clock'>, local: string, domain: string, tls: TlsInfo | undefined,
): Maybe<string | undefined> {
  const doubt = distrust(tls, domain)
  // If the conf says where the server is, DNS says nothing of it.
  if (!resolver.isDane || tls === undefined || tls.peerCertificates.length === 0 || policy(local, domain).byHand !== undefined) return doubt
  return resolver.resolve(domain).then(targets => judged(targets, tls, { domain, doubt, now: clock.now() }), (error: unknown) =>
    // RFC 7673 §3.3: if nobody can say whether there is a record, there may be one.
    error instanceof NoServer ? doubt : 'DNS does not say which certificate counts for it')
}

interface Claim {
  readonly domain: string
  /** What there is to say of its certificate without DANE. */
  readonly doubt: string | undefined
  readonly now: number
}

function judged (targets: readonly Target[], tls: TlsInfo, { domain, doubt, now }: Claim): string | undefined {
  const named = targets.filter(({ tlsa }) => tlsa !== undefined)
  if (named.some(target => doubtOf(target, tls, domain, now) === undefined)) return undefined
  // It may be one of those of which the domain says nothing.
  return named.length < targets.length ? doubt : NOT_NAMED
}
