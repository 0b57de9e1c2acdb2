/**
 * The devices of this host's accounts: each gets the last items of what it is interested in, once (XEP-0163 §4.3.3).
 */
import { capabilities, capsLearned, hasTo, rosters, sessionPresent, sessionUnavailable, slot } from '../../lib/api.js'
import type { ModuleHost, Session } from '../../lib/api.js'
import { hostsOf } from './hosts.js'
import { added, interestOf } from './interests.js'

const NOTHING: ReadonlySet<string> = new Set()

/**
 * The nodes that the device is interested in and whose last items it has got since it became available. After a restart
 * or a reload, when its features are not known, this is its interest.
 */
const served = slot<ReadonlySet<string>>('pep.served', {
  initial: () => NOTHING,
  codec: { write: nodes => [...nodes].join('\n'), read: text => text === '' ? NOTHING : new Set(text.split('\n')) },
})

/** Sends last items to devices that become available, or whose interest changes or becomes known later. */
export function serveOwnDevices (host: ModuleHost): void {
  host.on(sessionPresent, ({ session }) => { serve(host, session) }, 'observe')
  host.on(capsLearned, ({ device }) => {
    const session = host.sessions.at(device)
    if (session?.available === true) serve(host, session)
  }, 'observe')
  host.on(sessionUnavailable, ({ session }) => { session.put(served, NOTHING) }, 'observe')
}

function serve (host: ModuleHost, session: Session): void {
  const interest = interestOf(host.find(capabilities), session.jid)
  if (interest === undefined) return
  const fresh = added(interest, session.get(served))
  if (interest !== session.get(served)) session.put(served, interest)
  if (fresh.size > 0) void sendAll(host, session, fresh)
}

/** Sends the last items of the account itself, and of all contacts on this server. */
async function sendAll (host: ModuleHost, session: Session, nodes: ReadonlySet<string>): Promise<void> {
  const hosts = hostsOf(host)
  hosts.get(host.domain)?.sendLast(session.account, nodes, session.jid)
  try {
    const roster = await host.find(rosters)?.of(session.account)
    const near = [...roster?.items() ?? []].filter(item => hasTo(item) && hosts.has(item.jid.domain))
    await host.router.each(near, ({ jid }) => {
      if (session.available) hosts.get(jid.domain)?.sendLast(jid, nodes, session.jid)
    })
  } catch (error) {
    host.log.warn('last items not sent', { device: session.jid.toString(), error })
  }
}

/** Returns the available devices of an account that want notifications of a node. */
export function interestedDevices (host: ModuleHost, devices: readonly Session[], node: string): readonly Session[] {
  const all = host.find(capabilities)
  return devices.filter(device => device.available && (interestOf(all, device.jid) ?? device.get(served)).has(node))
}
