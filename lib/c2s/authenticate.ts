/** What a client asks for with `<authenticate/>` (XEP-0388 §2.3), read once. */
import { strictBase64 } from '../auth/base64.js'
import type { TokenMechanism } from '../auth/hashed-token.js'
import type { UserAgent } from '../stream/negotiation.js'
import { attributeOf, child, children, textOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { flatten, shortened } from '../xml/writer.js'

export interface Authenticate {
  readonly mechanism: string
  /** What the mechanism says first; undefined for nothing. 'wrong': it is no base64. */
  readonly initial: Uint8Array | undefined | 'wrong'
  readonly userAgent: UserAgent
  /** It logs in with a token (XEP-0484 §3.4). */
  readonly fast: boolean
  /** That token is to be good for nothing afterwards (XEP-0484 §3.6). */
  readonly invalidate: boolean
  /** It wants a token for this mechanism (XEP-0484 §3.2). */
  readonly wants: TokenMechanism | undefined
  /** Tasks of XEP-0480 that it wants to do. */
  readonly upgrades: readonly string[]
  /** XEP-0509 */
  readonly configVersion: string | undefined
}

/** Characters of what a client says of itself. */
const LONGEST = 256
/** XEP-0388 §2.3: an id is a UUID of version 4. */
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i
const MOST_UPGRADES = 8

/** `tokens`: the mechanisms for which a token may be asked. */
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

/** XEP-0388 §2.2: an element without text is empty data; no element is none. */
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
  return { id: id !== undefined && UUID.test(id) ? id.toLowerCase() : undefined, software: said('software'), device: said('device') }
}

function isTrue (value: string | undefined): boolean {
  return value === '1' || value === 'true'
}
