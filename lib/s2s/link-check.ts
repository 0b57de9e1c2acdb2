/**
 * `sestina s2s test DOMAIN`: reports each step of the way to another server in plain words, and whose fault a failure
 * is.
 */
import type { DomainQueues } from './queue/domain-queues.js'
import { openOutgoing, type Step } from './streams/open-outgoing.js'
import { LinkError, type Fault } from './ground/link-error.js'
import type { FederationContext } from './queue/context.js'

/** One step, as the operator reads it. */
export interface TrialStep {
  readonly step: Step['step'] | 'policy' | 'verdict'
  readonly ok: boolean
  readonly says: string
  /** Who has to fix the failure; '' if there is none. */
  readonly mend: string
}

/** The text for the failure of each step, in order. */
const NEEDS: Readonly<Record<Step['step'], string>> = {
  dns: 'DNS names no server',
  tcp: 'no connection: the server is down, or a firewall blocks it',
  tls: 'the connection could not be encrypted, or the stream failed',
  certificate: 'the certificate does not prove that it is the server of this domain',
  features: 'the server offers no feature to continue with',
  authentication: 'the other server did not accept our authentication',
  ping: 'we were authenticated, but no answer came back: the other server may not be able to reach us',
}

/** Takes the way of a stanza from a local domain to another. Never rejects because a step fails. */
export async function testLink (
  world: FederationContext, links: DomainQueues, local: string, remote: string,
): Promise<readonly TrialStep[]> {
  const steps: TrialStep[] = []
  const failed = (step: TrialStep['step'], says: string, fault: Fault): void => {
    const last = steps.at(-1)
    const mend = whoIs(fault, local, remote)
    if (last?.step === step && !last.ok) steps[steps.length - 1] = { ...last, mend }
    else steps.push({ step, ok: false, says, mend })
  }
  const note = ({ step, ok, text }: Step): void => {
    // A step may be taken again for another of the server's addresses.
    steps.push({ step, ok, says: ok ? text : `${NEEDS[step]} (${text})`, mend: '' })
  }
  let at: Step['step'] | 'policy' = world.policy(local, remote).trust === 'refuse' ? 'policy' : 'dns'
  try {
    const outgoing = await openOutgoing(world, local, remote, name => links.managed(name), step => {
      at = step.step
      note(step)
    })
    links.tries(outgoing)
    try {
      note({ step: 'features', ok: true, text: outgoing.features.join(', ') || 'none' })
      at = 'authentication'
      await outgoing.authorise(local, remote)
      const directions = outgoing.isBidi ? ', both directions on one connection' : ''
      note({ step: 'authentication', ok: true, text: `by ${outgoing.security ?? ''}${directions}` })
      const isThere = await links.asks(outgoing)
      if (isThere) note({ step: 'ping', ok: true, text: 'answered' })
      else failed('ping', `${NEEDS.ping} (no answer in 30 s)`, 'network')
    } finally {
      outgoing.close()
    }
  } catch (error) {
    if (!(error instanceof LinkError)) throw error
    failed(at, at === 'policy' ? error.message : `${NEEDS[at]} (${error.message})`, faultOf(at, error))
  }
  return [...steps, verdictOn(steps.at(-1), `from ${local} to ${remote}`)]
}

/** Returns the verdict of a test, by its last step. */
function verdictOn (last: TrialStep | undefined, way: string): TrialStep {
  if (last?.ok !== false) return { step: 'verdict', ok: true, says: `messages can be sent ${way}`, mend: '' }
  return { step: 'verdict', ok: false, says: `messages cannot be sent ${way}: ${last.says}`, mend: last.mend }
}

function faultOf (at: Step['step'] | 'policy', { fault }: LinkError): Fault {
  return at === 'policy' ? 'us' : fault
}

function whoIs (fault: Fault, local: string, remote: string): string {
  switch (fault) {
    case 'them': return `the operators of ${remote}`
    case 'us': return `you, the operator of ${local}: see [federation] in the conf file`
    case 'network': return 'the network, DNS or a firewall, on either side'
  }
}
