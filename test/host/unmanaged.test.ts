/** A session whose stream management could not be turned on. */
import t from 'tap'
import type { Manager } from '../../lib/host/handed.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import { stanza } from '../../lib/xmpp/stanza.js'
import { scenario } from '../scenario.js'

t.test('what was on its way to a session while stream management was turned on, and failed, reaches it', async t => {
  const s = await scenario(t, { modules: ['message'] })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const batch = new PendingBatch()
  const never = (): never => { throw new Error('nothing is booked') }
  romeo.session.manage({ book: never, send: never } as unknown as Manager)
  romeo.session.sendWith(batch, stanza(s.element("<message><body>hi</body></message>"), romeo.jid.bare, romeo.jid))
  romeo.session.manage(undefined)
  await s.host('montague.lit').commit(batch)
  await romeo.gets('<message><body>hi</body></message>')
})
