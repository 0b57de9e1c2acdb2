/** A client of @xmpp/client that says which nodes of its contacts it wants (XEP-0115, XEP-0163 §4). */
import { createHash } from 'node:crypto'
import { xml, type Client } from '@xmpp/client'

const INFO = 'http://jabber.org/protocol/disco#info'

type Stanza = Parameters<Client['send']>[0]

/** Sends presence with the interest in these nodes, and answers each server that asks for the features. */
export async function declares (xmpp: Client, nodes: readonly string[]): Promise<void> {
  const features = [INFO, ...nodes.map(node => `${node}+notify`)].sort()
  const ver = createHash('sha1').update(['client/pc//T', ...features].map(one => `${one}<`).join('')).digest('base64')
  xmpp.iqCallee.get(INFO, 'query', ({ element }: { readonly element: Stanza }) =>
    xml('query', { xmlns: INFO, node: element.attrs['node'] },
      xml('identity', { category: 'client', type: 'pc', name: 'T' }), ...features.map(feature => xml('feature', { var: feature }))))
  await xmpp.send(xml('presence', {}, xml('c', { xmlns: 'http://jabber.org/protocol/caps', hash: 'sha-1', node: 'urn:t', ver })))
}
