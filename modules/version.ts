/** XEP-0092 Software Version: what answers here. */
import { defineModule, NS, setting, VERSION, xml } from '../lib/api.js'

export default defineModule({
  name: 'version',
  about: 'Says that this is Sestina, and which version if that is wished.',
  xeps: ['0092 v1.1'],
  features: { host: [NS.VERSION] },
  settings: {
    number: setting.flag().default(true).says('Whether strangers may know the version.'),
  },

  setup (host) {
    host.iq.get('host', NS.VERSION, 'query', () => xml('query', { xmlns: NS.VERSION },
      xml('name', {}, 'Sestina'),
      xml('version', {}, host.settings.number ? VERSION : 'not told')))
  },
})
