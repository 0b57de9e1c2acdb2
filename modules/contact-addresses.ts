/** XEP-0157 Contact Addresses: whom to turn to about this server. */
import { defineModule, discovery, NS, setting, xml } from '../lib/api.js'
import type { Element } from '../lib/api.js'

const addresses = (what: string) => setting.list(setting.uri(), { max: 20 }).default([]).says(`Where to turn ${what}: URIs such as "mailto:…" or "xmpp:…".`)

export default defineModule({
  name: 'contact-addresses',
  about: 'Says whom to turn to about this server.',
  xeps: ['0157 v1.1.1'],
  requires: ['disco'],
  settings: {
    abuse: addresses('about abuse'),
    admin: addresses('for its administrators'),
    feedback: addresses('with feedback'),
    sales: addresses('about sales'),
    security: addresses('about security'),
    status: addresses('for news of its state'),
    support: addresses('for help'),
  },

  setup (host) {
    const given = Object.entries(host.settings).filter(([, uris]) => uris.length > 0)
    if (given.length === 0) return
    const form = (): Element => xml('x', { xmlns: NS.DATA, type: 'result' },
      xml('field', { var: 'FORM_TYPE', type: 'hidden' }, xml('value', {}, NS.SERVER_INFO)),
      ...given.map(([kind, uris]) => xml('field', { var: `${kind}-addresses`, type: 'list-multi' }, ...uris.map(uri => xml('value', {}, uri)))))
    host.whileUp(() => host.use(discovery).form(form))
  },
})
