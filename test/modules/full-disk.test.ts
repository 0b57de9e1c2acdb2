/** While nothing can be stored, no device gets the same offline messages at each login. */
import t from 'tap'
import { journal } from '../../lib/storage/store.js'
import { scenario } from '../scenario.js'

const JULIET = 'juliet@capulet.lit'

t.test('a device gets its offline messages once, although their removal cannot be stored', async t => {
  const s = await scenario(t, { modules: ['presence', 'message', 'offline'] })
  const romeo = await s.device('romeo@capulet.lit/orchard')
  await s.account(JULIET)
  const COUNT = 120 // more than one page
  for (let n = 1; n <= COUNT; n++) await romeo.says(`<message to='${JULIET}' type='chat'><body>${n}</body></message>`)
  const store = await s.storage.open('offline.messages', journal<string>(1))
  const got = async (): Promise<number> => {
    const juliet = await s.device(`${JULIET}/balcony`, { presence: false })
    await juliet.says('<presence/>')
    await s.settled()
    const messages = juliet.unread.filter(({ name }) => name === 'message').length
    await juliet.loses('connection')
    return messages
  }
  s.storage.failing = new Error('the disk is full')
  t.equal(await got(), COUNT, 'all messages arrive')
  t.equal(await got(), 0, 'no message arrives again')
  t.equal((await store.size(JULIET)).entries, COUNT, 'the messages are still stored')
  s.storage.failing = undefined
  t.equal(await got(), 0)
  t.equal((await store.size(JULIET)).entries, 0, 'once there is room, they are removed at the next login')
})
