/** Parses `<authenticate/>` (XEP-0388 §2.3). */
import { strictBase64 } from '../auth/base64.js'
import type { TokenMechanism } from '../auth/token.js'
import type { UserAgent } from '../stream/negotiation.js'
import { attributeOf, child, children, textOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { flatten, shortened } from '../xml/writer.js'

export interface Authenticate {
  readonly mechanism: string
  /** The initial response of the mechanism; undefined if there is none, 'wrong' if it is not base64. */
  readonly initial: Uint8Array | undefined | 'wrong'
  readonly userAgent: UserAgent
  /** True if the client logs in with a token (XEP-0484 §3.4). */
  readonly fast: boolean
  /** True if that token becomes invalid after the login (XEP-0484 §3.6). */
  readonly invalidate: boolean
  /** The mechanism for which the client requests a token (XEP-0484 §3.2). */
  readonly wants: TokenMechanism | undefined
  /** The upgrade tasks that the client offers to do (XEP-0480). */
  readonly upgrades: readonly string[]
  /** The version of the features that the client relies on (XEP-0509). */
  readonly configVersion: string | undefined
}

/** The most characters of a client's software and device names. */
const LONGEST = 256
/** XEP-0388 §2.3: an id is a UUID of version 4. */
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i
const MOST_UPGRADES = 8

/** Parses a request. `tokens` are the mechanisms for which a token may be requested. */
export function authenticateIn (request: Element, tokens: readonly TokenMechanism[]): Authenticate {
  const fast = child(request, NS.FAST, 'fast')
  const wanted = child(request, NS.FAST, 'request-token')
  const version = child(request, NS.IAP, 'config-version')
  return {
    mechanism: attributeOf(request, 'mechanism') ?? '',
    initial: initialIn(request),
    userAgent: userAgentIn(request),
    fast: fast !== undefined,
    invalidate: fast !== undefined && isTrue(attributeOf(fast, 'invalidate')),
    wants: tokens.find(name => name === (wanted === undefined ? undefined : attributeOf(wanted, 'mechanism'))),
    upgrades: children(request, NS.SASL_UPGRADE, 'upgrade').slice(0, MOST_UPGRADES).map(textOf),
    configVersion: version === undefined ? undefined : attributeOf(version, 'value') ?? '',
  }
}

/** XEP-0388 §2.2: an empty element is empty data; no element is no data. */
function initialIn (request: Element): Authenticate['initial'] {
  const element = child(request, NS.SASL2, 'initial-response')
  return element === undefined ? undefined : strictBase64(textOf(element).trim()) ?? 'wrong'
}

function userAgentIn (request: Element): UserAgent {
  const agent = child(request, NS.SASL2, 'user-agent')
  const said = (name: string): string => {
    const element = agent === undefined ? undefined : child(agent, NS.SASL2, name)
    return element === undefined ? '' : flatten(shortened(textOf(element), LONGEST))
  }
  const id = agent === undefined ? undefined : attributeOf(agent, 'id')
  return {
    id: id !== undefined && UUID.test(id) ? id.toLowerCase() : undefined,
    software: said('software'),
    device: said('device'),
  }
}

function isTrue (value: string | undefined): boolean {
  return value === '1' || value === 'true'
}
