/** XEP-0049 Private XML Storage: what a client keeps for itself. */
import {
  accountExporting, accountImporting, childElements, defineModule, isText, NS, namespaceOf, octets, fromOctets, records, setting,
  StanzaError, StoredTexts, xml,
} from '../lib/api.js'
import type { Element, Jid } from '../lib/api.js'

export default defineModule({
  name: 'private',
  about: 'Keeps small pieces of XML for the clients of an account.',
  xeps: ['0049 v1.2'],
  features: { host: [NS.PRIVATE] },
  settings: {
    bytes: setting.size({ min: '1KiB', max: '1MiB' }).default('256KiB').says('The most that an account may keep here.'),
    pieces: setting.count({ min: 1, max: 10_000 }).default(100).says('The most pieces that an account may keep.'),
  },
  stores: { pieces: records<string>(1, undefined, { check: isText, unreadable: 'moved' }) },

  setup (host) {
    const { pieces } = host.stores
    const texts = new StoredTexts()

    host.iq.get('self', NS.PRIVATE, 'query', async ({ session, payload }) => {
      // Each once, however often it is asked for: one request must not bring out more than is kept.
      const wanted = new Map(childElements(payload).map(piece => [keyOf(piece), piece]))
      if (wanted.size === 0) throw new StanzaError('bad-request', 'one piece is asked for by name and namespace')
      const kept = await piecesOf(session.account, [...wanted.keys()])
      const found = Array.from(wanted, ([key, piece]) => {
        const text = kept.get(key)
        return text ?? xml(piece.getName(), { xmlns: namespaceOf(piece) ?? '' })
      })
      return xml('query', { xmlns: NS.PRIVATE }, ...found)
    })

    host.iq.set('self', NS.PRIVATE, 'query', async ({ session, payload }) => {
      const given = childElements(payload)
      if (given.length === 0) throw new StanzaError('bad-request')
      await keep(session.account, given)
    })

    /** At one look-up, whatever is asked for. */
    async function piecesOf (account: Jid, keys: readonly string[]): Promise<ReadonlyMap<string, Element>> {
      const [key = '', second] = keys
      if (second !== undefined) return await read(account, await pieces.all(account.toString()))
      const text = await pieces.get(account.toString(), key)
      return await read(account, text === undefined ? [] : [[key, text]])
    }

    /** One that cannot be read is put aside, and the others are there. */
    async function read (account: Jid, kept: Iterable<readonly [string, string]>): Promise<ReadonlyMap<string, Element>> {
      const found = new Map<string, Element>()
      for (const [key, text] of kept) {
        try {
          const space = key.indexOf(' ')
          found.set(key, texts.element(key.slice(0, space), key.slice(space + 1), text))
        } catch (error) {
          await pieces.setAside(account.toString(), key, text, error)
        }
      }
      return found
    }

    async function keep (account: Jid, given: readonly Element[]): Promise<void> {
      const fresh = new Map(given.map(piece => [keyOf(piece), fromOctets(octets(piece))]))
      await pieces.change(account.toString(), old => {
        const after = new Map([...old, ...fresh])
        const bytes = [...after.values()].reduce((sum, text) => sum + Buffer.byteLength(text), 0)
        if (after.size > host.settings.pieces || bytes > host.settings.bytes) {
          throw new StanzaError('resource-constraint', 'there is no room for more', { type: 'cancel' })
        }
        return fresh
      })
    }

    // XEP-0227 §4.6
    host.on(accountExporting, async ({ account, add }) => {
      const kept = await read(account, await pieces.all(account.toString()))
      add(kept.values(), xml('query', { xmlns: NS.PRIVATE }))
    })
    host.on(accountImporting, async ({ account, element, within }) => {
      if (within?.namespace !== NS.PRIVATE) return undefined
      await keep(account, [element])
      return 'handled'
    })
  },
})

/** §3: one piece a name and namespace. Nothing of the namespaces that are the server's own affair. */
function keyOf (piece: Element): string {
  const namespace = namespaceOf(piece) ?? ''
  if (namespace === '' || namespace === NS.CLIENT || namespace === NS.PRIVATE) throw new StanzaError('not-acceptable', 'a piece has a namespace of its own')
  return `${piece.getName()} ${namespace}`
}
