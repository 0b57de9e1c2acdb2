/** What waits for other servers is bounded over all of them. */
import { OURS, scene } from './stage.js'

scene('what waits for all other servers is bounded: the one for which most waits loses what came last, and no other does', async (t, net) => {
  const ours = await net.town(OURS, { limits: { queue: { stanzas: 1000, size: 60 * 1024 * 1024, time: 30_000 } } })
  const [many, few] = ['many.test', 'few.test']
  await net.peer(many)
  await net.peer(few)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const send = async (domain: string, count: number): Promise<void> => {
    for (let n = 0; n < count; n++) await romeo.says(`<message to='juliet@${domain}' id='${domain} ${n}'><body>${'x'.repeat(250 * 1024)}</body></message>`)
  }
  await send(many, 220)
  await send(few, 60)
  t.match(ours.link(few), { queue: 60 })
  const refused = romeo.unread.map(({ attrs }) => attrs['id'])
  t.ok(refused.length > 0 && refused.every(id => String(id).startsWith(many)), 'what was for many.test comes back')
  t.equal(refused[0], `${many} 219`, 'the last first')
})
