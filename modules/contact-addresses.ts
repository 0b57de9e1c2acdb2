/** XEP-0157 Contact Addresses: whom to turn to about this server. */
import { defineModule, discovery, NS, setting, xml } from '../lib/api.js'
import type { Element } from '../lib/api.js'

const URIS = setting.list(setting.uri(), { max: 20 })
const addresses = (what: string) => URIS.default([]).says(`Where to turn ${what}: URIs such as "mailto:…" or "xmpp:…".`)

export default defineModule({
  name: 'contact-addresses',
  about: 'Says whom to turn to about this server.',
  xeps: ['0157 v1.1.1'],
  requires: ['disco'],
  settings: {
    abuse: addresses('about abuse'),
    admin: setting.optional(URIS)
      .says('Where to turn for its administrators: URIs. Left out, the first of the `admins` of the host, by XMPP; an empty list says nobody.'),
    feedback: addresses('with feedback'),
    sales: addresses('about sales'),
    security: addresses('about security'),
    status: addresses('for news of its state'),
    support: addresses('for help'),
  },

  setup (host) {
    const form = (): Element | undefined => {
      const { admin = host.admins.slice(0, 1).map(uriOf), ...others } = host.settings
      const given = Object.entries({ ...others, admin }).filter(([, uris]) => uris.length > 0)
      return given.length === 0 ? undefined : xml('x', { xmlns: NS.DATA, type: 'result' },
        xml('field', { var: 'FORM_TYPE', type: 'hidden' }, xml('value', {}, NS.SERVER_INFO)),
        ...given.map(([kind, uris]) => xml('field', { var: `${kind}-addresses`, type: 'list-multi' }, ...uris.map(uri => xml('value', {}, uri)))))
    }
    host.whileUp(() => host.use(discovery).form(form))
  },
})

/** RFC 5122 §2.2: what a URI does not allow in an address is percent-encoded as UTF-8. */
function uriOf (address: string): string {
  return `xmpp:${address.split('@').map(encodeURIComponent).join('@')}`
}
