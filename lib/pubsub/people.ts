/**
 * The accounts that nodes name in their affiliations, subscriptions and lists, by address: if an account is removed,
 * the nodes that name it are found, also those that are not in memory. So a later account of its name inherits nothing.
 */
import { hasForm } from '../storage/shape.js'
import type { Shape, Write } from '../storage/store.js'
import { splitOwner } from '../storage/owner.js'
import { table, type RowName, type Table } from '../storage/table.js'
import { StanzaError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { subscriptionChanges, type Node, type Subscription } from './node.js'

/** A row for each node and each account that the node names. Its owner says which node, its key is the address. */
export interface Person { readonly address: string }

/** The shape of the store of these rows. */
export const peopleShape: Shape<Table<Person>> = table<Person>(
  1, { by: { address: ({ address }) => address } }, undefined, { check: value => hasForm(value, { address: 'string' }) },
)

/** The rows that are read together: as many services are in memory at a time. */
const PAGE = 10

/** The writes that follow from a change of a node, and the addresses that it newly names. */
export interface PeopleChange { readonly writes: readonly Write[], readonly added: readonly string[] }

/** The accounts that are named by the nodes of all services at one domain. */
export class People {
  readonly #table: Table<Person>
  readonly #domain: string
  /** The accounts that are being removed, with the number of removals. */
  readonly #leaving = new Map<string, number>()

  constructor (store: Table<Person>, domain: string) {
    this.#table = store
    this.#domain = domain
  }

  /**
   * Returns what follows from a change of a node; `before` is undefined for a new one. Throws StanzaError if it newly
   * names an account that is being removed.
   */
  changing (service: string, before: Node | undefined, after: Node): PeopleChange {
    const place = placeOf(service, after)
    const { added, removed } = before !== undefined && namesSame(before, after)
      ? subscribersChanged(service, before, after)
      : peopleChanged(service, before, after)
    if (added.some(address => this.#leaving.has(address))) {
      throw new StanzaError('resource-constraint', 'an account is being removed', { type: 'wait' })
    }
    return {
      added,
      writes: [
        ...added.map(address => this.#table.putting(place, address, { address })),
        ...removed.map(address => this.#table.removing(place, address)),
      ],
    }
  }

  /** Removes the rows of a node that is removed. */
  clearing (service: string, node: Node): Write { return this.#table.clearing(placeOf(service, node)) }

  /** From now on no node can newly name the account, until the returned function is called. */
  leave (account: Jid): () => void {
    const address = account.bare.toString()
    this.#leaving.set(address, (this.#leaving.get(address) ?? 0) + 1)
    return () => {
      const left = (this.#leaving.get(address) ?? 0) - 1
      if (left > 0) this.#leaving.set(address, left)
      else this.#leaving.delete(address)
    }
  }

  /** Yields the services whose nodes name the account, some at a time; a service may come more than once. */
  async * servicesWith (account: Jid): AsyncGenerator<readonly string[]> {
    const address = account.bare.toString()
    for (let after: string | undefined; ;) {
      const { rows, complete, unread = [] } = await this.#table.page({ host: this.#domain }, {
        by: 'address', from: address, to: address, limit: PAGE, ...after === undefined ? {} : { after },
      })
      yield [...new Set([...rows, ...unread].map(serviceOf))]
      after = rows.at(-1)?.place
      if (complete || after === undefined) return
    }
  }
}

const NOBODY: ReadonlySet<string> = new Set()

/** The bare addresses that a change newly names, and those that it names no more. */
interface Changed { readonly added: readonly string[], readonly removed: readonly string[] }

function peopleChanged (service: string, before: Node | undefined, after: Node): Changed {
  const old = before === undefined ? NOBODY : peopleOf(before)
  const now = peopleOf(after)
  return {
    added: [...now].filter(address => address !== service && !old.has(address)),
    removed: [...old].filter(address => address !== service && !now.has(address)),
  }
}

/** The most changed subscriptions whose addresses are looked for one by one. */
const FEW = 8

/** Compares two values of a node with the same affiliations. One subscription among thousands must not cost much. */
function subscribersChanged (service: string, before: Node, after: Node): Changed {
  const { gone, come } = subscriptionChanges(before.subscriptions, after.subscriptions)
  if (gone.length + come.length > FEW) return peopleChanged(service, before, after)
  const missing = (some: readonly Subscription[], node: Node): readonly string[] =>
    [...new Set(some.map(({ jid }) => bareOf(jid)))].filter(address => address !== service && !isNamed(node, address))
  return { added: missing(come, before), removed: missing(gone, after) }
}

/** True if two values of a node differ in no address, unless in subscriptions. */
function namesSame (before: Node, after: Node): boolean {
  return before.affiliations === after.affiliations &&
    before.config.associationWhitelist === after.config.associationWhitelist
}

function isNamed ({ affiliations, subscriptions, config }: Node, address: string): boolean {
  const resources = `${address}/`
  if (affiliations.has(address) || config.associationWhitelist.includes(address)) return true
  return subscriptions.some(({ jid }) => jid === address || jid.startsWith(resources))
}

/** Returns the bare addresses that a node names. */
function peopleOf ({ affiliations, subscriptions, config }: Node): ReadonlySet<string> {
  const people = new Set([...affiliations.keys(), ...config.associationWhitelist])
  for (const { jid } of subscriptions) people.add(bareOf(jid))
  return people
}

/** Returns the bare form of an address. Only a resource is after a slash (RFC 7622 §3.1). */
export function bareOf (jid: string): string {
  const slash = jid.indexOf('/')
  return slash < 0 ? jid : jid.slice(0, slash)
}

/**
 * Returns the owner of the rows of a node. It counts to the host of the service, so that all services of a host are
 * searched at once; no local part has a space.
 */
function placeOf (service: string, { key }: Node): string {
  const at = service.indexOf('@')
  return `${service.slice(0, Math.max(0, at))} ${key}@${service.slice(at + 1)}`
}

function serviceOf ({ owner }: RowName): string {
  const { prefix, host } = splitOwner(owner)
  const local = prefix.slice(0, prefix.lastIndexOf(' '))
  return local === '' ? host : `${local}@${host}`
}
