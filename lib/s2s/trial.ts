/** `sestina s2s test DOMAIN`: every step of the way to another server in plain words, and who has to mend what fails. */
import type { Links } from './links.js'
import { openOutgoing, type Step } from './open.js'
import { LinkError, type FederationWorld, type Mender } from './world.js'

/** One step, as the operator reads it. */
export interface TrialStep {
  readonly step: Step['step'] | 'policy' | 'verdict'
  readonly ok: boolean
  readonly says: string
  /** Who has to mend it; '' where there is nothing to mend. */
  readonly mend: string
}

/** What each step needs, in the order in which they are taken. */
const NEEDS: Readonly<Record<Step['step'], string>> = {
  dns: 'DNS names no server',
  tcp: 'no connection: the server is down, or a firewall is between',
  tls: 'the connection cannot be encrypted, or the stream breaks off',
  certificate: 'the certificate does not prove whose server it is',
  features: 'the server offers nothing to go on with',
  authentication: 'the other server does not let us in',
  ping: 'we are let in, and no answer comes back: the way from there to here may be broken',
}

/** Walks the way of a stanza from a domain of ours to another. Never rejects for what is wrong there. */
export async function trial (world: FederationWorld, links: Links, local: string, remote: string): Promise<readonly TrialStep[]> {
  const steps: TrialStep[] = []
  const failed = (step: TrialStep['step'], says: string, mender: Mender): void => {
    const last = steps.at(-1)
    const mend = whoIs(mender, local, remote)
    if (last?.step === step && !last.ok) steps[steps.length - 1] = { ...last, mend }
    else steps.push({ step, ok: false, says, mend })
  }
  const note = ({ step, ok, text }: Step): void => {
    // A step that is taken again at another of its addresses.
    steps.push({ step, ok, says: ok ? text : `${NEEDS[step]} (${text})`, mend: '' })
  }
  let at: Step['step'] | 'policy' = world.policy(local, remote).trust === 'refuse' ? 'policy' : 'dns'
  try {
    const outgoing = await openOutgoing(world, local, remote, name => links.managed(name), step => { at = step.step; note(step) })
    links.tries(outgoing)
    try {
      note({ step: 'features', ok: true, text: outgoing.features.join(', ') || 'none' })
      at = 'authentication'
      await outgoing.authorise(local, remote)
      note({ step: 'authentication', ok: true, text: `by ${outgoing.security ?? ''}${outgoing.isBidi ? ', both directions on one connection' : ''}` })
      const isThere = await links.asks(outgoing)
      if (isThere) note({ step: 'ping', ok: true, text: 'answered' })
      else failed('ping', `${NEEDS.ping} (no answer in 30 s)`, 'network')
    } finally {
      outgoing.close()
    }
  } catch (error) {
    if (!(error instanceof LinkError)) throw error
    failed(at, at === 'policy' ? error.message : `${NEEDS[at]} (${error.message})`, menderOf(at, error))
  }
  const wrong = steps.find((step, index) => !step.ok && index >= steps.length - 1)
  const way = `from ${local} to ${remote}`
  steps.push(wrong === undefined
    ? { step: 'verdict', ok: true, says: `messages go ${way}`, mend: '' }
    : { step: 'verdict', ok: false, says: `no messages ${way}: ${wrong.says}`, mend: wrong.mend })
  return steps
}

function menderOf (at: Step['step'] | 'policy', { mender }: LinkError): Mender {
  return at === 'policy' ? 'us' : mender
}

function whoIs (mender: Mender, local: string, remote: string): string {
  switch (mender) {
    case 'them': return `those who run ${remote}`
    case 'us': return `you, who run ${local}: see [federation] in the conf file`
    case 'network': return 'the network, DNS or a firewall, at either end'
  }
}
