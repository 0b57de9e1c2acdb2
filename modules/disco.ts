/** XEP-0030 Service Discovery, with XEP-0128 forms: what the host is, and what an account offers to those who may see it. */
import { attributeOf, CAPS_NODE, childElements, defineModule, discovery, follow, mayKnow, NS, rosters, StanzaError, xml } from '../lib/api.js'
import type { DiscoItem, Element, Identity } from '../lib/api.js'

export default defineModule({
  name: 'disco',
  about: 'Tells clients and servers what can be done here.',
  xeps: ['0030 v2.5.0', '0128 v1.0.1'],
  features: { host: [NS.DISCO_INFO, NS.DISCO_ITEMS], account: [NS.DISCO_INFO, NS.DISCO_ITEMS] },
  after: ['roster'],

  setup (host) {
    const identities: Identity[] = [{ category: 'server', type: 'im', name: 'Sestina' }]
    const forms: (() => Element | undefined)[] = []
    const items: DiscoItem[] = []

    const info = (node?: string): Element => xml('query', node === undefined ? { xmlns: NS.DISCO_INFO } : { xmlns: NS.DISCO_INFO, node },
      ...identities.map(identityElement),
      ...host.features('host').map(featureElement),
      ...forms.flatMap(make => make() ?? []))

    host.provide(discovery, {
      identity: identity => added(identities, identity),
      form: make => added(forms, make),
      item: item => added(items, item),
      info,
    })

    host.iq.get('host', NS.DISCO_INFO, 'query', ({ payload }) => {
      const node = nodeOf(payload)
      if (node === undefined) return info()
      // XEP-0115 §6.2: asked by the node of the caps; the answer is the same.
      if (!node.startsWith(`${CAPS_NODE}#`)) throw new StanzaError('item-not-found')
      return info(node)
    })

    host.iq.get('host', NS.DISCO_ITEMS, 'query', ({ payload }) => {
      const node = nodeOf(payload)
      if (node !== undefined) throw new StanzaError('item-not-found')
      return xml('query', { xmlns: NS.DISCO_ITEMS }, ...items.map(itemElement))
    })

    host.iq.get('account', NS.DISCO_INFO, 'query', ({ stanza, payload }) => follow(mayKnow(stanza.from, stanza.to, host.find(rosters)), allowed => {
      if (!allowed) throw new StanzaError('service-unavailable') // §8: as if there were no such account
      if (nodeOf(payload) !== undefined) throw new StanzaError('item-not-found')
      return xml('query', { xmlns: NS.DISCO_INFO },
        identityElement({ category: 'account', type: 'registered' }),
        ...host.features('account').map(featureElement))
    }))

    host.iq.get('account', NS.DISCO_ITEMS, 'query', ({ stanza, payload }) => follow(mayKnow(stanza.from, stanza.to, host.find(rosters)), allowed => {
      // §8: an empty result, whether there is such an account or not.
      if (!allowed) return nothingAt(attributeOf(payload, 'node'))
      if (nodeOf(payload) !== undefined) throw new StanzaError('item-not-found')
      // RFC 6120 §8.2.3 leaves one answer: to the account itself it names its available resources.
      const devices = stanza.from.bare.equals(stanza.to) ? host.sessions.of(stanza.to).filter(device => device.available) : []
      return xml('query', { xmlns: NS.DISCO_ITEMS }, ...devices.map(({ jid }) => itemElement({ jid })))
    }))
  },
})

function added<T> (list: T[], one: T): () => void {
  list.push(one)
  return () => { list.splice(list.indexOf(one), 1) }
}

/** XEP-0030 §8: what is told to who may not know; §4.1: of the node that was asked for. */
function nothingAt (node: string | undefined): Element {
  return xml('query', node === undefined ? { xmlns: NS.DISCO_ITEMS } : { xmlns: NS.DISCO_ITEMS, node })
}

function nodeOf (payload: Element): string | undefined {
  if (childElements(payload).some(child => child.getName() !== 'set')) throw new StanzaError('bad-request')
  return attributeOf(payload, 'node')
}

function identityElement ({ category, type, name }: Identity): Element {
  return xml('identity', name === undefined ? { category, type } : { category, type, name })
}

function featureElement (feature: string): Element {
  return xml('feature', { var: feature })
}

function itemElement ({ jid, node, name }: DiscoItem): Element {
  const attributes: Record<string, string> = { jid: jid.toString() }
  if (node !== undefined) attributes['node'] = node
  if (name !== undefined) attributes['name'] = name
  return xml('item', attributes)
}
