/** Contacts of the accounts of a host: who is notified of a node without a subscription, and who gets last items. */
import {
  blocklists, capabilities, capsLearned, follow, hasFrom, mayRead, parseJid, presenceArriving, rosterItemChanged,
  rosters,
} from '../../lib/api.js'
import type {
  Jid, Maybe, ModuleHost, Node, PresenceArriving, PubSubEngine, RosterItem, RosterItemChanged, Standing,
} from '../../lib/api.js'
import { isDeepStrictEqual } from 'node:util'
import { cancelFor } from './cancelling.js'
import { hostsOf } from './hosts.js'
import { added, interestOf } from './interests.js'
import { interestedDevices } from './own-devices.js'
import { RemoteDevices } from './remote-devices.js'

/** Returns what an account knows of a contact. */
function standingOf (item: RosterItem | undefined): Standing {
  return { isOwner: false, seesPresence: item !== undefined && hasFrom(item), groups: item?.groups ?? [] }
}

/** True if a change of a contact changes nothing of what it may see. */
function hasSameAccess (before: RosterItem | undefined, after: RosterItem | undefined): boolean {
  const [old, now] = [standingOf(before), standingOf(after)]
  return old.seesPresence === now.seesPresence && (!now.seesPresence || isDeepStrictEqual(old.groups, now.groups))
}

/** The contacts of a host's accounts. */
export class Contacts {
  readonly #host: ModuleHost
  readonly #remote = new RemoteDevices()

  constructor (host: ModuleHost) { this.#host = host }

  /** Returns what an account knows of an asker. */
  standing (account: Jid, asker: Jid): Maybe<Standing> {
    if (asker.bare.equals(account)) return { isOwner: true, seesPresence: true, groups: [] }
    return follow(this.#host.find(rosters)?.of(account), roster => standingOf(roster?.item(asker.bare)))
  }

  /** True unless the account has blocked the address (XEP-0163 §4.3.3). */
  mayTell (account: Jid, to: Jid): Maybe<boolean> {
    return follow(this.#host.find(blocklists)?.blocks(account, to) ?? false, isBlocked => !isBlocked)
  }

  /**
   * Calls `tell` for the devices that are interested in the node: those of the account itself, and of the contacts who
   * may see it (XEP-0163 §4.3). It may take several turns of the event loop.
   */
  async interested (account: Jid, node: Node, tell: (to: Jid) => void): Promise<void> {
    const host = this.#host
    for (const { jid } of interestedDevices(host, host.sessions.of(account), node.name)) tell(jid)
    const roster = await host.find(rosters)?.of(account)
    const now = host.clock.now()
    const contacts = [...roster?.items() ?? []].filter(item =>
      hasFrom(item) && mayRead(node, { jid: item.jid, standing: standingOf(item), now }))
    await this.mayTell(account, account) // reads the block list, if it is not in memory
    await host.router.each(contacts, ({ jid }) => {
      for (const device of this.#devicesOf(account, jid, node.name)) {
        // A block list that cannot be looked at counts as one that blocks.
        if (this.mayTell(account, device) === true) tell(device)
      }
    })
  }

  /** Returns the devices of a contact that are interested in a node of an account. */
  #devicesOf (account: Jid, contact: Jid, node: string): readonly Jid[] {
    const near = hostsOf(this.#host).get(contact.domain)
    if (near !== undefined) return near.interested(contact, node)
    const all = this.#host.find(capabilities)
    return this.#remote.of(contact, account).filter(device => interestOf(all, device)?.has(node) === true)
  }

  // ---- Last items ---------------------------------------------------------------------------------------------

  /** Sends last items to the devices of contacts, when they come, become interested, or get access. */
  serve (engine: PubSubEngine): void {
    const host = this.#host
    host.on(presenceArriving, event => this.#arrives(engine, event), 'observe')
    host.on(capsLearned, ({ device }) => {
      for (const account of this.#remote.accountsOf(device)) this.#serveRemote(engine, parseJid(account), device)
    }, 'observe')
    host.on(rosterItemChanged, event => { event.batch.committed(() => { void this.#changed(engine, event) }) }, 'record')
  }

  /** Takes presence of a device on another server. The roster is read also for a name without an account. */
  #arrives (engine: PubSubEngine, { presence, account, exists }: PresenceArriving): Maybe<undefined> {
    const { type, from } = presence
    if (hostsOf(this.#host).has(from.domain) || from.resource === '' && type === 'available') return undefined
    if (type === 'unavailable' || type === 'error') this.#remote.left(from, account)
    if (type !== 'available') return undefined
    return follow(this.standing(account, from), ({ seesPresence }) => {
      if (exists && seesPresence && this.#remote.came(from, account)) this.#serveRemote(engine, account, from)
      return undefined
    })
  }

  #serveRemote (engine: PubSubEngine, account: Jid, device: Jid): void {
    const interest = interestOf(this.#host.find(capabilities), device)
    if (interest === undefined) return
    const fresh = added(interest, this.#remote.serve(device, account, interest))
    if (fresh.size > 0) void this.sendLast(engine, account, fresh, device)
  }

  /** Sends the last items of these nodes of an account to a device. Never rejects. */
  async sendLast (engine: PubSubEngine, account: Jid, wanted: ReadonlySet<string>, to: Jid): Promise<void> {
    try {
      const nodes = await engine.nodes(account)
      if (nodes.size === 0) return
      await engine.delivery.sendLast(account, [...nodes.values()].filter(({ name }) => wanted.has(name)), to)
    } catch (error) {
      this.#host.log.warn('last items not sent', { account: account.toString(), device: to.toString(), error })
    }
  }

  /**
   * XEP-0163 §7.1: after a change of a subscription or of roster groups, the contact has what it may have: explicit
   * subscriptions without access end, and the last items of nodes that have become visible are sent.
   */
  async #changed (engine: PubSubEngine, { account, contact, before, after }: RosterItemChanged): Promise<void> {
    if (hasSameAccess(before, after)) return
    const host = this.#host
    try {
      const nodes = await engine.nodes(account)
      const now = host.clock.now()
      const sees = (node: Node, item: RosterItem | undefined): boolean =>
        mayRead(node, { jid: contact, standing: standingOf(item), now })
      await cancelFor(host, engine, account, contact, nodes)
      for (const node of nodes.values()) {
        if (sees(node, before) || !sees(node, after)) continue
        for (const device of this.#devicesOf(account, contact, node.name)) {
          await engine.delivery.sendLast(account, [node], device)
        }
      }
    } catch (error) {
      host.log.warn('access not changed', { account: account.toString(), error })
    }
  }
}
