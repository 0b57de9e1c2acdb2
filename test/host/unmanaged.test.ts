/** A session for which enabling stream management failed. */
import t from 'tap'
import type { StreamManager } from '../../lib/host/delivery-tracker.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import { stanza } from '../../lib/xmpp/stanza.js'
import { scenario } from '../scenario.js'

t.test('a stanza in transit to a session reaches it if enabling stream management fails meanwhile', async t => {
  const s = await scenario(t, { modules: ['message'] })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const batch = new PendingBatch()
  const never = (): never => { throw new Error('nothing is booked') }
  romeo.session.setManager({ book: never, send: never } as unknown as StreamManager)
  romeo.session.sendWith(batch, stanza(s.element('<message><body>hi</body></message>'), romeo.jid.bare, romeo.jid))
  romeo.session.setManager(undefined)
  await s.host('montague.lit').commit(batch)
  await romeo.gets('<message><body>hi</body></message>')
})
