/** Where a domain's server may be reached. */
import type { Tlsa } from './tlsa.js'

/** One place where a domain's server may be reached. */
export interface Target {
  /** The name of the server in DNS, for the operator. */
  readonly host: string
  readonly address: string
  readonly port: number
  /** 'direct': TLS from the first byte (XEP-0368). */
  readonly tls: 'required' | 'direct'
  /** True if all DNS answers that led here were validated with DNSSEC. */
  readonly secure: boolean
  /** The domain's TLSA records for this server; absent if there are none or they are not asked for. */
  readonly tlsa?: readonly Tlsa[]
  /** True if the conf names this server or its domain: it may have a private address. */
  readonly isAllowed?: boolean
}

/** The conf's settings for a domain, in place of DNS. */
export interface ByHand {
  readonly host: string
  readonly port: number | undefined
  readonly tls: 'required' | 'direct'
}
