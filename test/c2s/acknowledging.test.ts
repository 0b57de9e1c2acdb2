/** Stream management out of order, and timely answers to <r/>, over real streams (XEP-0198 §3, §4). */
import { messageSent } from '../../lib/host/events.js'
import { defineModule, type AnyModule } from '../../lib/host/module.js'
import { xml } from '../../lib/xml/element.js'
import streamManagement from '../../modules/stream-management/index.js'
import message from '../../modules/message.js'
import presence from '../../modules/presence/index.js'
import roster from '../../modules/roster/index.js'
import { auth, DOMAIN, PASSWORD, SASL, scene, type Client, type Stage } from './stage.js'
import { SM } from '../stanzas.js'

const FAILED = /<failed xmlns="urn:xmpp:sm:3"><unexpected-request/g
const R = `<r ${SM}/>`
const toSelf = (text: string): string => `<message to='romeo@${DOMAIN}/orchard' type='chat'><body>${text}</body></message>`
const answers = (client: Client): string[] => [...client.heard.matchAll(/<a xmlns="urn:xmpp:sm:3" h="(\d+)"\/>/g)].map(([, h = '']) => h)

/** Releases the messages with the text 'slow', which wait until then. */
let go: (() => void)[] = []
const slow = defineModule({
  name: 'slow',
  setup: host => {
    host.on(messageSent, async ({ message }) => {
      if (message.element.getChildText('body') === 'slow') await new Promise<void>(resolve => { go.push(resolve) })
      return undefined
    })
    // Requests whose answer waits in the same way.
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

scene('<r/> is answered at once if everything is stored', { modules: MODULES }, async (t, s) => {
  const client = await managed(s)
  await client.says(R)
  await client.says(`${toSelf('one')}${R}`)
  t.same(answers(client), ['0', '1'])
})

scene('<r/> is answered after 5 s if an earlier stanza takes longer, and again when that one is stored', { modules: SLOW }, async (t, s) => {
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

scene('a request without an answer yet also delays the acknowledgement by 5 s, and no longer', { modules: SLOW }, async (t, s) => {
  const client = await managed(s)
  await client.says(`${toSelf('one')}${ASK}${toSelf('two')}${R}`)
  t.equal(go.length, 1, 'the request is open')
  await s.pass(4999)
  t.same(answers(client), [])
  await s.pass(1)
  t.same(answers(client), ['1'], 'only stanzas before the request can be counted')
  await client.says(R)
  await s.pass(5000)
  t.same(answers(client), ['1', '1'], 'each <r/> is answered')
  go[0]?.()
  await s.settled()
  t.match(client.heard, /<iq [^>]*id="q"/)
  t.same(answers(client), ['1', '1', '3'])
})

scene('a request that waits for earlier stanzas of its device does not delay the acknowledgement any longer', { modules: SLOW }, async (t, s) => {
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

scene('<r/> is answered although earlier stanzas are not read yet', { modules: SLOW }, async (t, s) => {
  const client = await managed(s)
  await client.says(`${toSelf('one')}${toSelf('slow')}${toSelf('more').repeat(100)}${R}`)
  await s.pass(5000)
  t.same(answers(client), ['1'])
  go[0]?.()
  await s.settled()
  t.same(answers(client), ['1', '102'])
})

scene('while nothing can be stored the count stays the same, and is sent', { modules: MODULES }, async (t, s) => {
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

scene('many <r/> cost one answer in 5 s, and there is no answer without <r/>', { modules: SLOW }, async (t, s) => {
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

scene('before login and before binding, stream management is refused with an error, and the stream goes on', { modules: MODULES }, async (t, s) => {
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

scene('during a login it is refused as well, and the login goes on', { modules: MODULES }, async (t, s) => {
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

scene('the stream ends at the eleventh refused request', { modules: MODULES }, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.opens()
  await client.says(`<enable ${SM}/>`.repeat(10))
  t.equal(client.heard.match(FAILED)?.length, 10)
  t.equal(client.error, undefined)
  await client.says(`<resume ${SM} previd='some' h='0'/>`)
  t.equal(client.error, 'policy-violation')
})

scene('without the module such a request ends the stream', {}, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.opens()
  await client.says(`<enable ${SM}/>`)
  t.equal(client.error, 'policy-violation')
})
