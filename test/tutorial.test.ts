/** The module of docs/writing-a-module.md: new accounts are welcomed. */
import t from 'tap'
import greeting from './tutorial/greeting.js'
import { scenario } from './scenario.js'

const MODULES = ['presence', 'message', greeting]
const OFFLINE = { presence: false } as const

t.test('a new account gets one greeting, when its first device becomes available', async t => {
  const s = await scenario(t, { modules: MODULES })
  const balcony = await s.device('juliet@capulet.lit/balcony', OFFLINE)
  await balcony.getsNothing()

  await balcony.says('<presence/>')
  await balcony.gets("<presence from='juliet@capulet.lit/balcony'/>")
  await balcony.gets("<message from='capulet.lit' to='juliet@capulet.lit' type='chat'><body>Welcome!</body></message>")

  const chamber = await s.device('juliet@capulet.lit/chamber')
  await balcony.says("<presence type='unavailable'/>", '<presence/>')
  balcony.forget()
  chamber.forget()
  await s.reload('greeting')
  await balcony.says("<presence type='unavailable'/>", '<presence/>')
  const heard = [...balcony.unread, ...chamber.unread].map(stanza => stanza.name)
  t.notOk(heard.includes('message'), 'no second greeting')
})

t.test('two devices that become available at the same time get one greeting', async t => {
  const s = await scenario(t, { modules: MODULES })
  const devices = [await s.device('juliet@capulet.lit/balcony', OFFLINE), await s.device('juliet@capulet.lit/chamber', OFFLINE)]
  await Promise.all(devices.map(device => device.says('<presence/>')))
  const ids = devices.flatMap(device => device.unread).filter(stanza => stanza.name === 'message').map(stanza => stanza.attrs['id'])
  t.equal(new Set(ids).size, 1, 'one greeting, and each device may see it')
})

t.test('a query to the host returns the greeting in force', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { greeting: { text: 'Good morrow' } } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const ask = "<iq type='get' to='capulet.lit' id='g'><greeting xmlns='urn:example:greeting:0'/></iq>"
  t.equal((await juliet.asks(ask)).getChildText('greeting'), 'Good morrow')

  await s.reload('greeting', { text: 'Good even' })
  t.equal((await juliet.asks(ask)).getChildText('greeting'), 'Good even')
})
