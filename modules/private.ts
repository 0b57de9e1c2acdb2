/** XEP-0049 Private XML Storage: stores XML for the clients of an account. */
import {
  accountExporting, accountImporting, bookmarks, CheckedTexts, childElements, defineModule, fromOctets, isText,
  localName, namespaceOf, NS, octets, parseElement, privateStorage, records, setting, StanzaError, StoredElement,
  toOctets, xml,
} from '../lib/api.js'
import type { Batch, Element, Jid, ModuleHost, Records } from '../lib/api.js'

export default defineModule({
  name: 'private',
  about: 'Stores small pieces of XML for the clients of an account.',
  xeps: ['0049 v1.2'],
  features: { host: [NS.PRIVATE] },
  settings: {
    bytes: setting.size({ min: '1KiB', max: '1MiB' }).default('256KiB').says('The most bytes that all private XML of an account may have together. A request that would exceed this is refused.'),
    pieces: setting.count({ min: 1, max: 10_000 }).default(100).says('The most pieces of an account.'),
  },
  stores: { pieces: records<string>(1, undefined, { check: isText, unreadable: 'moved' }) },

  setup (host) {
    const pieces = new Pieces(host.stores.pieces, host.settings)

    host.iq.get('self', NS.PRIVATE, 'query', async ({ session, payload }) => {
      // Each piece once, however often it is requested: an answer is never larger than what is stored.
      const wanted = new Map(childElements(payload).map(piece => [keyOf(piece), piece]))
      if (wanted.size === 0) throw new StanzaError('bad-request', 'a request names a piece by element name and namespace')
      const stored = await pieces.of(session.account, [...wanted.keys()])
      const kept = await withBookmarks(host, session.account, stored, wanted)
      const found = Array.from(wanted, ([key, piece]) => {
        const text = kept.get(key)
        return text ?? emptied(piece)
      })
      return xml('query', { xmlns: NS.PRIVATE }, ...found)
    })
    host.iq.set('self', NS.PRIVATE, 'query', async ({ session, payload, batch }) => {
      const given = childElements(payload)
      if (given.length === 0) throw new StanzaError('bad-request')
      await keepBookmarks(host, session.account, given, batch)
      await pieces.keep(session.account, given)
    })
    host.provide(privateStorage, {
      async of (account, name, namespace) {
        const piece = (await pieces.of(account, [`${name} ${namespace}`])).get(`${name} ${namespace}`)
        return piece === undefined ? undefined : parsed(piece)
      },
    })

    // Export and import (XEP-0227 §4.6).
    host.on(accountExporting, async ({ account, add }) => {
      const kept = await pieces.all(account)
      add(kept.values(), xml('query', { xmlns: NS.PRIVATE }))
    })
    host.on(accountImporting, async ({ account, element, within }) => {
      if (within?.namespace !== NS.PRIVATE) return undefined
      await pieces.keep(account, [element])
      return 'handled'
    })
  },
})

/** The key of bookmarks (XEP-0048 §3.1). */
const BOOKMARKS = `storage ${NS.STORAGE_BOOKMARKS}`

/** Returns the pieces with the bookmarks of all clients, if these are requested. */
async function withBookmarks (
  host: ModuleHost, account: Jid, kept: ReadonlyMap<string, Element>, wanted: ReadonlyMap<string, Element>,
): Promise<ReadonlyMap<string, Element>> {
  const all = wanted.has(BOOKMARKS) ? host.find(bookmarks) : undefined
  const former = kept.get(BOOKMARKS)
  const list = await all?.read(account, former === undefined ? undefined : parsed(former))
  return list === undefined ? kept : new Map([...kept, [BOOKMARKS, list]])
}

/** Shows bookmarks that are written here to the other clients. */
async function keepBookmarks (host: ModuleHost, account: Jid, given: readonly Element[], batch: Batch): Promise<void> {
  const list = given.findLast(piece => keyOf(piece) === BOOKMARKS)
  if (list !== undefined) await host.find(bookmarks)?.write(account, list, batch)
}

function parsed (piece: Element): Element {
  return piece instanceof StoredElement ? parseElement(toOctets(piece.stored)) : piece
}

/** Returns the piece without content. Namespaces in XML §3: the namespace of the prefix xml is never declared. */
function emptied (piece: Element): Element {
  const namespace = namespaceOf(piece)
  return namespace === NS.XML ? xml(`xml:${localName(piece)}`) : xml(piece.getName(), { xmlns: namespace ?? '' })
}

/** The stored pieces of all accounts, by the keys of `keyOf`. */
class Pieces {
  readonly #store: Records<string>
  readonly #bounds: { readonly bytes: number, readonly pieces: number }
  readonly #texts = new CheckedTexts()

  constructor (store: Records<string>, bounds: { readonly bytes: number, readonly pieces: number }) {
    this.#store = store
    this.#bounds = bounds
  }

  /** Reads the pieces with these keys in a single storage request; more than these if there are several. */
  async of (account: Jid, keys: readonly string[]): Promise<ReadonlyMap<string, Element>> {
    const [key = '', second] = keys
    if (second !== undefined) return await this.all(account)
    const text = await this.#store.get(account.toString(), key)
    return await this.#parse(account, text === undefined ? [] : [[key, text]])
  }

  /** Reads all pieces. */
  async all (account: Jid): Promise<ReadonlyMap<string, Element>> {
    return await this.#parse(account, await this.#store.all(account.toString()))
  }

  /** Stores pieces. Rejects with StanzaError if there is no room. */
  async keep (account: Jid, given: readonly Element[]): Promise<void> {
    const fresh = new Map(given.map(piece => [keyOf(piece), fromOctets(octets(piece))]))
    await this.#store.change(account.toString(), old => {
      const after = new Map([...old, ...fresh])
      const bytes = [...after.values()].reduce((sum, text) => sum + Buffer.byteLength(text), 0)
      if (after.size > this.#bounds.pieces || bytes > this.#bounds.bytes) {
        throw new StanzaError('resource-constraint', 'the private storage of the account is full', { type: 'cancel' })
      }
      return fresh
    })
  }

  /** Parses stored pieces. A piece that cannot be parsed is put aside; the others are returned. */
  async #parse (account: Jid, kept: Iterable<readonly [string, string]>): Promise<ReadonlyMap<string, Element>> {
    const found = new Map<string, Element>()
    for (const [key, text] of kept) {
      try {
        const space = key.indexOf(' ')
        found.set(key, this.#texts.element(key.slice(0, space), key.slice(space + 1), text))
      } catch (error) {
        await this.#store.setAside(account.toString(), key, text, error)
      }
    }
    return found
  }
}

/**
 * Returns the storage key of a piece: one piece per name and namespace (§3). Throws StanzaError for the server's own
 * namespaces.
 */
function keyOf (piece: Element): string {
  const namespace = namespaceOf(piece) ?? ''
  if (namespace === '' || namespace === NS.CLIENT || namespace === NS.PRIVATE) throw new StanzaError('not-acceptable', 'this namespace cannot be stored')
  return `${piece.getName()} ${namespace}`
}
