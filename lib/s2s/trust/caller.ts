/**
 * Decides whether the certificate of a connecting server is valid for the domain that it claims: by an authority or by
 * DNS (DANE).
 */
import type { Maybe } from '../../base/maybe.js'
import type { TlsInfo } from '../../stream/transport.js'
import { doubtOf, NOT_NAMED } from './dane.js'
import { NoServer } from '../connect/resolve.js'
import type { Target } from '../ground/target.js'
import { distrust } from './certificate-names.js'
import type { TrustContext } from './context.js'

/**
 * Returns why the certificate is not valid for the domain; undefined if it is. With DANE on, DNS is asked, as for a
 * server that we connect to (RFC 7673 §4): if the domain names the certificates of its servers, only these count,
 * whatever authority signed another one. A refused peer may still prove the domain by dialback; that connects to a
 * server which shows the certificate named in DNS. The promise never rejects.
 */
export function objectionToCaller (
  { resolver, policy, clock }: Pick<TrustContext, 'resolver' | 'policy' | 'clock'>,
  local: string, domain: string, tls: TlsInfo | undefined,
): Maybe<string | undefined> {
  const doubt = distrust(tls, domain)
  // If the conf says where the server is, DNS is not asked about it.
  const isByHand = policy(local, domain).byHand !== undefined
  if (!resolver.isDane || tls === undefined || tls.peerCertificates.length === 0 || isByHand) return doubt
  const judge = (targets: readonly Target[]): string | undefined =>
    judged(targets, tls, { domain, doubt, now: clock.now() })
  return resolver.resolve(domain).then(judge, (error: unknown) =>
    // RFC 7673 §3.3: if nobody can say whether there is a record, there may be one.
    error instanceof NoServer ? doubt : 'DNS did not say which certificate is valid for it')
}

interface Claim {
  readonly domain: string
  /** Why the certificate is not valid without DANE; undefined if it is. */
  readonly doubt: string | undefined
  readonly now: number
}

function judged (targets: readonly Target[], tls: TlsInfo, { domain, doubt, now }: Claim): string | undefined {
  const named = targets.filter(({ tlsa }) => tlsa !== undefined)
  if (named.some(target => doubtOf(target, tls, domain, now) === undefined)) return undefined
  // The peer may be one of the servers for which the domain has no TLSA record.
  return named.length < targets.length ? doubt : NOT_NAMED
}
