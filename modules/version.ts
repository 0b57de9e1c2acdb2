/** XEP-0092 Software Version: the server's name and version. */
import { defineModule, NS, setting, VERSION, xml } from '../lib/api.js'

export default defineModule({
  name: 'version',
  about: 'Answers requests for the name of the software and, if allowed, its version.',
  xeps: ['0092 v1.1'],
  at: 'everywhere',
  features: { host: [NS.VERSION] },
  settings: {
    disclose: setting.flag().default(true).was('number').says('Whether the version is disclosed.'),
  },

  setup (host) {
    host.iq.get('host', NS.VERSION, 'query', () => xml('query', { xmlns: NS.VERSION },
      xml('name', {}, 'Sestina'),
      xml('version', {}, host.settings.disclose ? VERSION : 'not disclosed')))
  },
})
