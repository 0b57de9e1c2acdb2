/** Opens a stream to a domain: DNS, connection, TLS, certificate. */
import { ForbiddenPlace } from '../../stream/guard.js'
import { DnsError } from '../connect/dns-client.js'
import { dialFirst, type Dialled } from '../connect/happy-eyeballs.js'
import type { S2sAcks } from '../acks/acks.js'
import { Outgoing } from './outgoing.js'
import { NoServer } from '../connect/resolve.js'
import { addressOf } from '../ground/domain.js'
import type { Target } from '../ground/target.js'
import { LinkError } from '../ground/link-error.js'
import type { StreamContext } from './context.js'

/** A step that was taken, for `sestina s2s test`. */
export interface Step {
  readonly step: 'dns' | 'tcp' | 'tls' | 'certificate' | 'features' | 'authentication' | 'ping'
  readonly ok: boolean
  readonly text: string
}

/** How many servers of a domain are tried one after another, if one answers and cannot be used. */
const MOST_ATTEMPTS = 4
/**
 * The text for users if DNS names no server, and also if it names a private address: they must not learn which names
 * our network has.
 */
const NO_SERVER = 'DNS names no server that can be reached'
/** How long connecting may take, in milliseconds. */
const DIALLING = 20_000

/** The domains between which a stream is opened, and the function that is told of each step. */
interface Opening {
  readonly world: StreamContext
  readonly local: string
  readonly remote: string
  readonly note: (step: Step) => void
}

/**
 * Opens an encrypted stream to a domain's server, with a certificate that satisfies the policy. Rejects with LinkError.
 */
export async function openOutgoing (
  world: StreamContext, local: string, remote: string, manages: (remote: string) => S2sAcks,
  note: (step: Step) => void = () => {},
): Promise<Outgoing> {
  const opening: Opening = { world, local, remote, note }
  let left = await targetsOf(opening)
  let trouble = new LinkError('remote-server-not-found', 'it has no address', { fault: 'them' })
  for (let attempt = 0; attempt < MOST_ATTEMPTS && left.length > 0; attempt++) {
    const { transport, target } = await connectToOne(left, opening).catch((error: unknown) => {
      throw attempt > 0 ? trouble : error
    })
    left = left.filter(other => other !== target)
    const outgoing = new Outgoing(world, local, remote, transport, target, manages)
    const failure = await failureToOpen(outgoing, opening)
    if (failure === undefined) return outgoing
    trouble = failure
    const { message: reason, cause: error } = trouble
    world.log.debug('s2s server not usable', { local, remote, server: shown(target), reason, error })
  }
  throw trouble
}

/** Connects to the first of the targets that answers. Rejects with LinkError if none does. */
async function connectToOne (targets: readonly Target[], { world, note }: Opening): Promise<Dialled> {
  try {
    const dialled = await dialFirst(world.dialer, world.clock, targets, DIALLING)
    note({ step: 'tcp', ok: true, text: `connected to ${shown(dialled.target)}` })
    return dialled
  } catch (error) {
    const reason = error instanceof Error ? error : new Error(String(error))
    const detail = targets.map(shown).join(', ')
    note({ step: 'tcp', ok: false, text: `${detail}: ${reason.message}` })
    throw new LinkError('remote-server-timeout', 'no server answers', {
      isPassing: true, fault: 'network', cause: error, detail,
    })
  }
}

/** Opens a stream and judges the peer's certificate. Resolves with why it cannot be used; undefined if it can. */
async function failureToOpen (outgoing: Outgoing, opening: Opening): Promise<LinkError | undefined> {
  const { world, local, remote, note } = opening
  const { target } = outgoing
  try {
    await outgoing.open()
    note({ step: 'tls', ok: true, text: tlsOf(outgoing) })
    const doubt = outgoing.distrust(remote)
    const valid = target.tlsa !== undefined ? 'as its domain names it in DNS (DANE)' : `valid for ${remote}`
    note({ step: 'certificate', ok: doubt === undefined, text: doubt ?? valid })
    // RFC 7673 §4: if the domain names its certificate in DNS, dialback is no way around it.
    const mayUseDialback = target.tlsa === undefined && world.policy(local, remote).trust === 'dialback'
    if (doubt === undefined || mayUseDialback) return undefined
    outgoing.close()
    return new LinkError('remote-server-not-found', doubt)
  } catch (error) {
    const trouble = error instanceof LinkError
      ? error
      : new LinkError('remote-server-timeout', 'the stream failed', { cause: error })
    const { message, cause } = trouble
    note({ step: 'tls', ok: false, text: cause instanceof Error ? `${message}: ${cause.message}` : message })
    return trouble
  }
}

function tlsOf ({ tls }: Outgoing): string {
  return tls === undefined ? '' : `${tls.protocol ?? ''} ${tls.cipher}`.trim()
}

async function targetsOf ({ world, local, remote, note }: Opening): Promise<readonly Target[]> {
  const { trust, byHand, isPrivate = false } = world.policy(local, remote)
  if (trust === 'refuse') throw new LinkError('not-allowed', `${local} does not talk to ${remote}`, { fault: 'us' })
  // No certificate is valid for an IP address (RFC 9525 §6.1), so there is no need to connect.
  if (trust === 'certificate' && addressOf(remote) !== undefined) {
    throw new LinkError('remote-server-not-found', 'no certificate is valid for an IP address')
  }
  try {
    const targets = await world.resolver.resolve(remote, byHand)
    const isAllowed = byHand !== undefined || isPrivate
    const allowed = allowedOf(world, remote, isAllowed ? targets.map(target => ({ ...target, isAllowed })) : targets)
    note({ step: 'dns', ok: true, text: allowed.map(shown).join(', ') })
    return allowed
  } catch (error) {
    note({ step: 'dns', ok: false, text: error instanceof Error ? error.message : String(error) })
    throw withoutTargets(error)
  }
}

/** Returns the error for a domain of which no server was found; an unknown error unchanged. */
function withoutTargets (error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const how = { cause: error, detail: error.message }
  if (error instanceof ForbiddenPlace || error instanceof NoServer) {
    const fault = error instanceof ForbiddenPlace ? 'us' : 'them'
    return new LinkError('remote-server-not-found', NO_SERVER, { ...how, fault })
  }
  if (!(error instanceof DnsError)) return error
  return new LinkError('remote-server-timeout', 'DNS failed', { ...how, isPassing: true, fault: 'network' })
}

/** Returns the targets that may be connected to. Throws ForbiddenPlace, which names the setting, if there are none. */
function allowedOf ({ dialer }: StreamContext, remote: string, targets: readonly Target[]): readonly Target[] {
  const objections = targets.map(target => dialer.objection(target))
  const [first] = objections
  if (first === undefined || objections.includes(undefined)) {
    return targets.filter((_, index) => objections[index] === undefined)
  }
  throw new ForbiddenPlace(`${first}; [federation.domain."${remote}"] private = true allows this domain, ` +
    '[federation] private = [...] a range')
}

export function shown ({ host, address, port, tls }: Target): string {
  const place = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
  return `${host === address ? place : `${host} (${place})`}${tls === 'direct' ? ' direct TLS' : ''}`
}
