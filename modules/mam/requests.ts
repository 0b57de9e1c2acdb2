/** Answers archive queries of accounts (XEP-0313 §4). */
import { attributeOf, nodeArchives, NS, StanzaError, xml } from '../../lib/api.js'
import type { Element, ModuleHost, Request } from '../../lib/api.js'
import { metadata, readAsked, readPage, tooSlow } from './answering.js'
import { queryForm, resultStanzas, type Archive } from './query.js'

/** Answers queries of accounts to their own archives, with pages of at most `most` messages, and refuses all others. */
export function answerQueries (host: ModuleHost, archive: Archive, most: number): void {
  host.iq.get('self', NS.MAM, 'query', () => queryForm())

  // XEP-0442: a query with a node is for the items of that node.
  const atNode = (request: Request): Promise<Element> => {
    const nodes = host.find(nodeArchives)
    if (nodes === undefined) throw new StanzaError('feature-not-implemented')
    return nodes.query(request)
  }

  host.iq.set('self', NS.MAM, 'query', async request => {
    if (attributeOf(request.payload, 'node') !== undefined) return await atNode(request)
    const { session, payload } = request
    const asked = readAsked(payload)
    const { account, jid } = session
    const { shown, fin } = await readPage(host, archive, most, asked, account, units => { session.charge(units) })
    if (!await host.outlet(account).draw(session, resultStanzas(shown, account, jid, asked.id))) throw tooSlow()
    return fin
  })

  host.iq.get('self', NS.MAM, 'metadata', ({ session }) => metadata(host, archive, session.account))
  // XEP-0386: a client that binds inline gets the archive's metadata with the result.
  host.offerInline({
    at: 'bind',
    namespace: NS.MAM,
    offered: () => xml('feature', { var: NS.MAM }),
    take: async ({ account }) => ({ element: await metadata(host, archive, account) }),
  })

  // §7.1: only the owner can query an archive.
  const forbidden = (): never => { throw new StanzaError('forbidden') }
  host.iq.set('account', NS.MAM, 'query', request =>
    attributeOf(request.payload, 'node') === undefined ? forbidden() : atNode(request))
  host.iq.get('account', NS.MAM, 'query', forbidden)
  for (const name of ['metadata', 'prefs']) {
    host.iq.get('account', NS.MAM, name, forbidden)
    host.iq.set('account', NS.MAM, name, forbidden)
  }
}
