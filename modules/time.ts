/** XEP-0202 Entity Time: the server's time, in UTC. */
import { defineModule, formatDateTime, NS, xml } from '../lib/api.js'

export default defineModule({
  name: 'time',
  about: 'Answers requests for the time of the server.',
  xeps: ['0202 v2.0'],
  at: 'everywhere',
  features: { host: [NS.TIME] },

  setup (host) {
    host.iq.get('host', NS.TIME, 'time', () => xml('time', { xmlns: NS.TIME },
      xml('tzo', {}, '+00:00'), // the server does not disclose its time zone
      xml('utc', {}, formatDateTime(host.clock.now()))))
  },
})
