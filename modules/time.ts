/** XEP-0202 Entity Time: what time it is here. */
import { defineModule, formatDateTime, NS, xml } from '../lib/api.js'

export default defineModule({
  name: 'time',
  about: 'Tells the time of the server.',
  xeps: ['0202 v2.0'],
  features: { host: [NS.TIME] },

  setup (host) {
    host.iq.get('host', NS.TIME, 'time', () => xml('time', { xmlns: NS.TIME },
      xml('tzo', {}, '+00:00'), // the server's zone is its own affair
      xml('utc', {}, formatDateTime(host.clock.now()))))
  },
})
