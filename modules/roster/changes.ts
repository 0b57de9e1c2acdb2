/** Changes of rosters: bounded, stored with the batch that makes them, and pushed to sessions (RFC 6121 §2.1.6). */
import { flag, NS, rosterItemChanged, slot, StanzaError, subscriptionChanged, xml } from '../../lib/api.js'
import type { Batch, Element, Jid, ModuleHost, RosterItem } from '../../lib/api.js'
import { itemElement } from './elements.js'
import { withState, type AccountRoster, type AccountRosters, type StoredItem } from './items.js'
import { part } from './presence.js'
import type { RequestBounds } from './requests.js'
import type { Step } from './subscription.js'

/** RFC 6121 §2.2: true if the session has requested the roster. It then receives pushes. */
export const interested = slot('roster.interested', { initial: () => false, codec: flag })

/** The settings of the module. `items`: the most contacts. `bytes`: the most bytes of the answer that shows them. */
export interface RosterBounds extends RequestBounds {
  readonly items: number
  readonly bytes: number
  readonly bytesPerName: number
  readonly groupsPerContact: number
}

/** Changes the rosters of a host. */
export class RosterChanges {
  readonly rosters: AccountRosters
  readonly bounds: RosterBounds
  readonly #host: ModuleHost

  constructor (host: ModuleHost, rosters: AccountRosters, bounds: RosterBounds) {
    this.#host = host
    this.rosters = rosters
    this.bounds = bounds
  }

  /** Adds or replaces an item. Throws StanzaError if the roster is full. */
  keep (account: Jid, roster: AccountRoster, contact: Jid, item: StoredItem, batch: Batch): void {
    this.#checkRoom(roster, contact, item)
    this.#change(account, roster, contact, item, batch)
    // §2.1.6, §2.5.2: the push is sent before the result.
    this.#pushLater(account, roster, contact, run => { batch.answering(run) })
  }

  /**
   * Removes an item, the subscriptions in both directions, and a pending request (§2.5). Throws StanzaError if there is
   * no item.
   */
  remove (account: Jid, roster: AccountRoster, contact: Jid, batch: Batch): void {
    if (roster.item(contact) === undefined) throw new StanzaError('item-not-found')
    const old = roster.stored(contact)
    this.#change(account, roster, contact, undefined, batch)
    // §2.5.2: the push is sent before the result.
    batch.answering(() => { this.#pushRemoval(account, contact, roster.version) })
    batch.committed(() => { part(this.#host, account, contact, old) })
    void this.#host.fire(subscriptionChanged, { account, contact, batch })
  }

  /** Applies a step to the roster, in storage with the batch. A change of the visible item is pushed (§2.1.6). */
  apply (account: Jid, roster: AccountRoster, contact: Jid, step: Step, batch: Batch, request?: string): void {
    const before = roster.state(contact)
    const old = roster.stored(contact)
    const item = withState(old, step.state, request ?? old.request)
    if (isSame(before, step.state) && request === undefined) return
    if (request === undefined) this.#checkRoom(roster, contact, item)
    const shown = roster.item(contact)
    this.#change(account, roster, contact, item, batch)
    const shows = roster.item(contact)
    if (shows !== undefined && !isSameItem(shown, shows)) {
      this.#pushLater(account, roster, contact, run => { batch.committed(run) })
    }
    if (shows === undefined && shown !== undefined) {
      const { version } = roster
      batch.committed(() => { this.#pushRemoval(account, contact, version) })
    }
    if (before.subscription !== step.state.subscription) {
      void this.#host.fire(subscriptionChanged, { account, contact, batch })
    }
  }

  #change (account: Jid, roster: AccountRoster, contact: Jid, item: StoredItem | undefined, batch: Batch): void {
    const before = roster.item(contact)
    this.rosters.change(account, roster, contact, item, batch)
    const after = roster.item(contact)
    if (before === undefined && after === undefined) return // a request that waits shows nothing
    void this.#host.fire(rosterItemChanged, { account, contact, before, after, batch })
  }

  /** Throws StanzaError if the roster has no room for a contact with only a pending request. */
  checkSize (roster: AccountRoster): void {
    const { items, requests } = this.bounds
    if (roster.size >= items + requests) throw new StanzaError('resource-constraint', 'too many pending requests')
  }

  /**
   * Throws StanzaError if the roster is full. A change that does not enlarge it is always accepted, for the limits may
   * have been lowered.
   */
  #checkRoom (roster: AccountRoster, contact: Jid, item: StoredItem): void {
    const growth = roster.growth(contact, item)
    const { items, bytes } = this.bounds
    const isFull = !roster.has(contact) && roster.size >= items || growth > 0 && roster.shownBytes + growth > bytes
    if (isFull) throw new StanzaError('resource-constraint', 'the roster is full', { type: 'cancel' })
  }

  #pushLater (account: Jid, roster: AccountRoster, contact: Jid, later: (run: () => void) => void): void {
    const item = roster.item(contact)
    const { version } = roster
    if (item !== undefined) later(() => { this.#push(account, itemElement(item), version) })
  }

  #pushRemoval (account: Jid, contact: Jid, version: string): void {
    this.#push(account, xml('item', { jid: contact.toString(), subscription: 'remove' }), version)
  }

  /** Sends a push to each interested session (§2.1.6). */
  #push (account: Jid, item: Element, ver: string): void {
    const { sessions, ids } = this.#host
    for (const device of sessions.of(account)) {
      if (!device.get(interested)) continue
      device.send(xml('iq', { type: 'set', id: ids.next() }, xml('query', { xmlns: NS.ROSTER, ver }, item)))
    }
  }
}

function isSame (a: Step['state'], b: Step['state']): boolean {
  return a.subscription === b.subscription && a.ask === b.ask &&
    a.approved === b.approved && a.pendingIn === b.pendingIn
}

function isSameItem (a: RosterItem | undefined, b: RosterItem): boolean {
  return a?.subscription === b.subscription && a.ask === b.ask && a.approved === b.approved
}
