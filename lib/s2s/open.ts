/** From a domain to a stream: DNS, connection, TLS, certificate. */
import { ForbiddenPlace } from '../stream/guard.js'
import { DnsError } from './dns/client.js'
import { dialFirst } from './dial.js'
import type { Managed } from './managed.js'
import { Outgoing } from './outgoing.js'
import { addressOf, NoServer, type Target } from './resolve.js'
import { LinkError, type FederationWorld } from './world.js'

/** A step that was taken, for `sestina s2s test`. */
export interface Step {
  readonly step: 'dns' | 'tcp' | 'tls' | 'certificate' | 'features' | 'authentication' | 'ping'
  readonly ok: boolean
  readonly text: string
}

/** Servers of one domain that are tried one after the other, where one answers and is not to be had. */
const MOST_ATTEMPTS = 4
/** What users read if DNS names no server, and also if it names a private address: they do not learn which names our own network has. */
const NO_SERVER = 'DNS names no server that can be reached'
/** How long connecting may take, in milliseconds. */
const DIALLING = 20_000

/** Opens a stream to a domain's server, encrypted and with a certificate as the policy wants it. Rejects with LinkError. */
export async function openOutgoing (
  world: FederationWorld, local: string, remote: string, manages: (remote: string) => Managed, note: (step: Step) => void = () => {},
): Promise<Outgoing> {
  let left = await targetsOf(world, local, remote, note)
  let trouble = new LinkError('remote-server-not-found', 'it has no address', { mender: 'them' })
  for (let attempt = 0; attempt < MOST_ATTEMPTS && left.length > 0; attempt++) {
    const { transport, target } = await dialFirst(world.dialer, world.clock, left, DIALLING).catch((error: unknown) => {
      const reason = error instanceof Error ? error : new Error(String(error))
      note({ step: 'tcp', ok: false, text: `${left.map(shown).join(', ')}: ${reason.message}` })
      throw attempt > 0 ? trouble : new LinkError('remote-server-timeout', 'nobody answers', {
        isPassing: true, mender: 'network', cause: error, detail: left.map(shown).join(', '),
      })
    })
    note({ step: 'tcp', ok: true, text: `connected to ${shown(target)}` })
    left = left.filter(other => other !== target)
    const outgoing = new Outgoing(world, local, remote, transport, target, manages)
    try {
      await outgoing.open()
      note({ step: 'tls', ok: true, text: `${outgoing.tls?.protocol ?? ''} ${outgoing.tls?.cipher ?? ''}`.trim() })
      const doubt = outgoing.distrust(remote)
      note({ step: 'certificate', ok: doubt === undefined, text: doubt ?? (target.tlsa !== undefined ? 'as its domain names it in DNS (DANE)' : `valid for ${remote}`) })
      // RFC 7673 §4: where its domain has said which certificate it shows, dialback is no way around it.
      if (doubt === undefined || world.policy(local, remote).trust === 'dialback' && target.tlsa === undefined) return outgoing
      outgoing.close()
      trouble = new LinkError('remote-server-not-found', doubt)
    } catch (error) {
      trouble = error instanceof LinkError ? error : new LinkError('remote-server-timeout', 'the stream fails', { cause: error })
      note({ step: 'tls', ok: false, text: `${trouble.message}${trouble.cause instanceof Error ? `: ${trouble.cause.message}` : ''}` })
    }
    world.log.debug('server not usable', { local, remote, at: shown(target), why: trouble.message, error: trouble.cause })
  }
  throw trouble
}

async function targetsOf (world: FederationWorld, local: string, remote: string, note: (step: Step) => void): Promise<readonly Target[]> {
  const { trust, byHand, isPrivate = false } = world.policy(local, remote)
  if (trust === 'refuse') throw new LinkError('not-allowed', `${local} does not talk to ${remote}`, { mender: 'us' })
  // No certificate stands for an address (RFC 9525 §6.1): there is no need to go there.
  if (trust === 'certificate' && addressOf(remote) !== undefined) throw new LinkError('remote-server-not-found', 'an IP address has no certificate')
  try {
    const targets = await world.resolver.resolve(remote, byHand)
    const isAllowed = byHand !== undefined || isPrivate
    const allowed = allowedOf(world, remote, isAllowed ? targets.map(target => ({ ...target, isAllowed })) : targets)
    note({ step: 'dns', ok: true, text: allowed.map(shown).join(', ') })
    return allowed
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    note({ step: 'dns', ok: false, text })
    if (error instanceof ForbiddenPlace) throw new LinkError('remote-server-not-found', NO_SERVER, { mender: 'us', cause: error, detail: text })
    if (error instanceof NoServer) throw new LinkError('remote-server-not-found', NO_SERVER, { cause: error, detail: text })
    if (error instanceof DnsError) throw new LinkError('remote-server-timeout', 'DNS fails', { isPassing: true, mender: 'network', cause: error, detail: text })
    throw error
  }
}

/** The targets that we may connect to. Throws ForbiddenPlace, which names the setting, if there are none. */
function allowedOf ({ dialer }: FederationWorld, remote: string, targets: readonly Target[]): readonly Target[] {
  const objections = targets.map(target => dialer.objection(target))
  const [first] = objections
  if (first === undefined || objections.includes(undefined)) return targets.filter((_, index) => objections[index] === undefined)
  throw new ForbiddenPlace(`${first}; [federation.domain."${remote}"] private = true allows this domain, [federation] private = [...] a range`)
}

export function shown ({ host, address, port, tls }: Target): string {
  const place = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
  return `${host === address ? place : `${host} (${place})`}${tls === 'direct' ? ' direct TLS' : ''}`
}
