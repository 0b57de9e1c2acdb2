/** XEP-0157 Contact Addresses: where to report abuse, ask for help and so on. */
import { defineModule, discovery, NS, setting, xml } from '../lib/api.js'
import type { Element } from '../lib/api.js'

const URIS = setting.list(setting.uri(), { max: 20 })
const addresses = (what: string) => URIS.default([]).says(`Contact addresses ${what}: URIs such as "mailto:…" or "xmpp:…".`)

export default defineModule({
  name: 'contact-addresses',
  about: 'Publishes contact addresses for this server.',
  xeps: ['0157 v1.1.1'],
  at: 'everywhere',
  requires: ['disco'],
  settings: {
    abuse: addresses('for reports of abuse'),
    admin: setting.optional(URIS)
      .says('Contact addresses of the administrators: URIs. If left out, the XMPP address of the first of the `admins` of the host; an empty list publishes none.'),
    feedback: addresses('for feedback'),
    sales: addresses('for sales'),
    security: addresses('for security issues'),
    status: addresses('for the status of the server'),
    support: addresses('for support'),
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

/** Makes an xmpp: URI; percent-encodes as UTF-8 what RFC 5122 §2.2 does not allow. */
function uriOf (address: string): string {
  return `xmpp:${address.split('@').map(encodeURIComponent).join('@')}`
}
