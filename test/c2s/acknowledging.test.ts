/** Stream management out of its order, and answers to <r/> in time (XEP-0198 §3, §4), over real streams. */
import { messageSent } from '../../lib/host/events.js'
import { defineModule, type AnyModule } from '../../lib/host/module.js'
import { xml } from '../../lib/xml/element.js'
import streamManagement from '../../modules/stream-management/index.js'
import message from '../../modules/message.js'
import presence from '../../modules/presence/index.js'
import roster from '../../modules/roster/index.js'
import { auth, DOMAIN, PASSWORD, SASL, scene, type Client, type Stage } from './stage.js'

const SM = "xmlns='urn:xmpp:sm:3'"
const FAILED = /<failed xmlns="urn:xmpp:sm:3"><unexpected-request/g
const R = `<r ${SM}/>`
const toSelf = (text: string): string => `<message to='romeo@${DOMAIN}/orchard' type='chat'><body>${text}</body></message>`
const answers = (client: Client): string[] => [...client.heard.matchAll(/<a xmlns="urn:xmpp:sm:3" h="(\d+)"\/>/g)].map(([, h = '']) => h)

/** Messages whose text is 'slow' wait until they are let go. */
let go: (() => void)[] = []
const slow = defineModule({
  name: 'slow',
  setup: host => {
    host.on(messageSent, async ({ message }) => {
      if (message.element.getChildText('body') === 'slow') await new Promise<void>(resolve => { go.push(resolve) })
      return undefined
    })
    // Requests whose answer takes as long.
    host.iq.get('host', 'urn:example:slow', 'query', async () => {
      await new Promise<void>(resolve => { go.push(resolve) })
      return xml('query', { xmlns: 'urn:example:slow' })
    })
  },
})
const ASK = `<iq type='get' id='q' to='${DOMAIN}'><query xmlns='urn:example:slow'/></iq>`
const MODULES = [roster, presence, message, streamManagement] as unknown as readonly AnyModule[]
const SLOW = [...MODULES, slow as unknown as AnyModule]

async function managed (s: Stage): Promise<Client> {
  go = []
  const client = await s.bound('orchard')
  await client.says(`<enable ${SM} resume='true'/>`)
  await client.until('<enabled')
  client.forget()
  return client
}

scene('a request for acknowledgement is answered at once if everything is stored', { modules: MODULES }, async (t, s) => {
  const client = await managed(s)
  await client.says(R)
  await client.says(`${toSelf('one')}${R}`)
  t.same(answers(client), ['0', '1'])
})

scene('it is answered after 5 s if something before it takes longer, with what is stored; and again when that is', { modules: SLOW }, async (t, s) => {
  const client = await managed(s)
  await client.says(`${toSelf('one')}${toSelf('slow')}${R}`)
  await s.pass(4999)
  t.same(answers(client), [])
  await s.pass(1)
  t.same(answers(client), ['1'])
  go[0]?.()
  await s.settled()
  t.same(answers(client), ['1', '2'])
})

scene('a request of the same device that has no answer yet withholds it for 5 s as well, and no longer', { modules: SLOW }, async (t, s) => {
  const client = await managed(s)
  await client.says(`${toSelf('one')}${ASK}${toSelf('two')}${R}`)
  t.equal(go.length, 1, 'the request is open')
  await s.pass(4999)
  t.same(answers(client), [])
  await s.pass(1)
  t.same(answers(client), ['1'], 'only what came before the request can be counted')
  await client.says(R)
  await s.pass(5000)
  t.same(answers(client), ['1', '1'], 'each question is answered')
  go[0]?.()
  await s.settled()
  t.match(client.heard, /<iq [^>]*id="q"/)
  t.same(answers(client), ['1', '1', '3'])
})

scene('a request that waits for what its device has said before does not withhold it any longer', { modules: SLOW }, async (t, s) => {
  const client = await managed(s)
  await client.says(`${toSelf('one')}${toSelf('slow')}${ASK}${R}`)
  await s.pass(5000)
  t.same(answers(client), ['1'])
  go[0]?.()
  await s.settled()
  t.equal(go.length, 2, 'now the request is open')
  await s.pass(5000)
  await client.says(R)
  await s.pass(5000)
  t.equal(answers(client).at(-1), '2')
  go[1]?.()
  await s.settled()
  t.equal(answers(client).at(-1), '3')
})

scene('it is answered although so much was said before it that it is not read yet', { modules: SLOW }, async (t, s) => {
  const client = await managed(s)
  await client.says(`${toSelf('one')}${toSelf('slow')}${toSelf('more').repeat(100)}${R}`)
  await s.pass(5000)
  t.same(answers(client), ['1'])
  go[0]?.()
  await s.settled()
  t.same(answers(client), ['1', '102'])
})

scene('while nothing can be stored, what counts stands still, and is told', { modules: MODULES }, async (t, s) => {
  const client = await managed(s)
  s.storage.hold()
  client.transport.write(`${toSelf('one')}${R}`)
  await new Promise(resolve => { setImmediate(resolve) })
  s.clock.pass(5000)
  await new Promise(resolve => { setImmediate(resolve) })
  t.same(answers(client), ['0'])
  s.storage.release()
  await s.settled()
  t.same(answers(client), ['0', '1'])
})

scene('many requests cost one answer in 5 s, and none is given when nobody has asked', { modules: SLOW }, async (t, s) => {
  const client = await managed(s)
  await client.says(`${toSelf('slow')}${toSelf('slow')}`)
  await client.says(R.repeat(20))
  await s.pass(5000)
  t.same(answers(client), ['0'])
  for (let n = 0; n < 2; n++) {
    go[n]?.()
    await s.settled()
  }
  const before = answers(client).length
  await s.pass(60_000)
  t.equal(answers(client).length, before)
})

scene('before login and before binding it cannot be enabled or resumed: that is said, and the stream goes on', { modules: MODULES }, async (t, s) => {
  const client = s.connect()
  await client.opens()
  await client.says(`<enable ${SM}/>`) // before TLS
  t.equal(client.heard.match(FAILED)?.length, 1)
  const other = s.connect({ secure: true })
  await other.opens()
  other.forget()
  await other.says(`<enable ${SM} resume='true'/><resume ${SM} previd='some' h='0'/>`)
  t.equal(other.heard.match(FAILED)?.length, 2)
  await other.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  await other.until('<success')
  await other.opens()
  other.forget()
  await other.says(`<enable ${SM}/>`)
  t.equal(other.heard.match(FAILED)?.length, 1)
  await other.says("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
  t.match(other.heard, /<jid>/)
  await other.says(`<enable ${SM}/>`)
  t.match(other.heard, /<enabled /)
})

scene('in the midst of a login it is refused as well, and the login goes on', { modules: MODULES }, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.opens()
  await client.says(`<auth xmlns='${SASL}' mechanism='PLAIN'/>`)
  t.match(client.heard, /<challenge/)
  await client.says(`<resume ${SM} previd='some' h='0'/>`)
  t.equal(client.heard.match(FAILED)?.length, 1)
  await client.says(`<response xmlns='${SASL}'>${Buffer.from(`\0romeo\0${PASSWORD}`).toString('base64')}</response>`)
  await client.until('<success')
  t.pass()
})

scene('after ten such requests the next one ends the stream', { modules: MODULES }, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.opens()
  await client.says(`<enable ${SM}/>`.repeat(10))
  t.equal(client.heard.match(FAILED)?.length, 10)
  t.equal(client.error, undefined)
  await client.says(`<resume ${SM} previd='some' h='0'/>`)
  t.equal(client.error, 'policy-violation')
})

scene('without stream management such a request ends the stream', {}, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.opens()
  await client.says(`<enable ${SM}/>`)
  t.equal(client.error, 'policy-violation')
})
