/** Presence after a restart of this server, and after an outage of another one. */
import { addressed, blocklists, hasFrom, hasTo, parseJid, stanza, xml } from '../../lib/api.js'
import type { ModuleHost } from '../../lib/api.js'
import { absence, announceEnd, rosterOf } from './broadcast.js'
import type { PresenceDeps } from './own.js'

/**
 * After a crash: sends unavailable presence for sessions that were not restored, and restores the directed presence of
 * those that were.
 */
export async function announceGhostsGone (host: ModuleHost, { here, directed }: PresenceDeps): Promise<void> {
  for await (const { device, available, told } of here.all()) {
    const contacts = await rosterOf(host, device.bare)
    const session = host.sessions.at(device)
    if (session !== undefined) for (const address of told) directed.restore(session, address)
    const hasGone = available && session?.available !== true
    if (hasGone) here.changed(device)
    if (session === undefined) for (const address of told) here.changed(device, address)
    const heard = session === undefined ? told.map(address => parseJid(address)) : []
    await announceEnd(host, { presence: absence(device), contacts, wasAvailable: hasGone, told: heard })
  }
}

/** Sends presence to contacts at these domains again, and probes theirs: both sides may have missed some. */
export async function renew (host: ModuleHost, isMeant: (domain: string) => boolean): Promise<void> {
  for (const session of [...host.sessions.all()]) {
    if (!session.available) continue
    const contacts = await rosterOf(host, session.account)
    const { presence } = session
    if (presence === undefined || session.connection === 'closed') continue
    for (const item of [...contacts.items()].filter(({ jid }) => isMeant(jid.domain))) {
      const { jid } = item
      if (hasTo(item)) host.router.route(stanza(xml('presence', { type: 'probe' }), session.jid, jid))
      if (!hasFrom(item)) continue
      const isBlocked = await host.find(blocklists)?.blocks(session.account, jid)
      if (isBlocked !== true) host.router.route(addressed(presence.with({ to: jid }), jid))
    }
  }
}
