/**
 * Stream management over real streams: its place in the negotiation, and the end of a stream (XEP-0198 §3, §5, §7, §9).
 */
import type { AnyModule } from '../../lib/host/module.js'
import streamManagement from '../../modules/stream-management/index.js'
import carbons from '../../modules/carbons.js'
import message from '../../modules/message.js'
import presence from '../../modules/presence/index.js'
import roster from '../../modules/roster/index.js'
import { DOMAIN, PASSWORD, scene, type Client, type Stage } from './stage.js'
import { SM } from '../stanzas.js'

const MODULES = [roster, presence, message, streamManagement] as unknown as readonly AnyModule[]
const SASL2 = 'urn:xmpp:sasl:2'
const enabledIn = (client: Client): string => /<enabled [^>]*\bid="([^"]+)"/.exec(client.heard)?.[1] ?? ''
const toRomeo = (text: string): string => `<message to='romeo@${DOMAIN}/orchard' type='chat'><body>${text}</body></message>`

async function managed (s: Stage): Promise<{ readonly client: Client, readonly id: string }> {
  const client = await s.bound('orchard')
  await client.says(`<presence/><enable ${SM} resume='true'/>`)
  await client.until('<enabled')
  const id = enabledIn(client)
  client.forget()
  return { client, id }
}

async function sasl2 (s: Stage, more: string): Promise<Client> {
  const client = s.connect({ secure: true })
  await client.opens()
  const initial = Buffer.from(`\0romeo\0${PASSWORD}`).toString('base64')
  client.forget()
  await client.says(`<authenticate xmlns='${SASL2}' mechanism='PLAIN'><initial-response>${initial}</initial-response>${more}</authenticate>`)
  await client.until('</success>')
  return client
}

scene('stream management is offered after login, and resumption replaces binding', { modules: MODULES }, async (t, s) => {
  const fresh = s.connect({ secure: true })
  await fresh.opens()
  t.notMatch(fresh.heard, /<\/mechanisms>[^]*<sm /)
  const { client, id } = await managed(s)
  const juliet = await s.bound('balcony', { account: `juliet@${DOMAIN}` })
  await juliet.says(toRomeo('one'))
  client.transport.destroy(new Error('a tunnel'))
  await s.settled()
  await juliet.says(toRomeo('two'))
  const again = await s.loggedIn()
  await again.says(`<enable ${SM}/>`)
  t.match(again.heard, /<failed xmlns="urn:xmpp:sm:3"><unexpected-request/, 'no resource is bound')
  again.forget()
  await again.says(`<resume ${SM} previd='${id}' h='1'/>`)
  t.match(again.heard, new RegExp(`^<resumed xmlns="urn:xmpp:sm:3" previd="${id}" h="0"/><message[^]*two[^]*</message><r xmlns="urn:xmpp:sm:3"/>$`))
  t.equal(again.stream.state.at, 'established')
  t.notMatch(juliet.heard, /unavailable/)
  again.forget()
  await again.says(`<message to='juliet@${DOMAIN}/balcony' type='chat'><body>three</body></message><r ${SM}/>`)
  t.match(again.heard, /<a xmlns="urn:xmpp:sm:3" h="1"\/>/)
})

scene('the iq for a session of RFC 3921 is answered, and counts for acknowledgements', { modules: MODULES }, async (t, s) => {
  const { client } = await managed(s)
  for (const to of ['', `to='${DOMAIN}'`]) {
    await client.says(`<iq type='set' id='1' ${to}><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq><r ${SM}/>`)
    t.match(client.heard, /<iq [^>]*type=["']result["']/)
  }
  t.match(client.heard, /<a xmlns="urn:xmpp:sm:3" h="2"\/>/)
  client.forget()
  await client.says(`<a ${SM} h='2'/>`)
  t.equal(client.heard, '', 'the server has counted them too')
})

scene('a client that cannot resume may bind instead', { modules: MODULES }, async (t, s) => {
  const client = await s.loggedIn()
  await client.says(`<resume ${SM} previd='nothing' h='0'/>`)
  t.match(client.heard, /<failed xmlns="urn:xmpp:sm:3"><item-not-found/)
  await client.says("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
  t.match(client.heard, /<jid>/)
})

scene('with SASL2, binding and enabling, or resuming, is part of the login', { modules: MODULES, host: { resources: 5 } }, async (t, s) => {
  const offered = s.connect({ secure: true })
  await offered.opens()
  t.match(offered.heard, /<inline><sm xmlns="urn:xmpp:sm:3"\/><bind xmlns="urn:xmpp:bind:0"><inline><feature var="urn:xmpp:sm:3"\/>/)
  const client = await sasl2(s, `<bind xmlns='urn:xmpp:bind:0'><enable ${SM} resume='true'/></bind>`)
  const id = enabledIn(client)
  t.match(client.heard, /<bound xmlns="urn:xmpp:bind:0"><enabled /)
  const address = /<authorization-identifier>([^<]*)</.exec(client.heard)?.[1] ?? ''
  await client.until('</stream:features>')
  t.notMatch(client.heard, /<sm /, 'enabled features are not advertised again')
  const plain = await sasl2(s, "<bind xmlns='urn:xmpp:bind:0'/>")
  await plain.until('</stream:features>')
  t.match(plain.heard, /<sm /)
  const juliet = await s.bound('balcony', { account: `juliet@${DOMAIN}` })
  await juliet.says(`<message to='${address}' type='chat'><body>one</body></message>`)
  client.transport.destroy(new Error('a tunnel'))
  await s.settled()
  const again = await sasl2(s, `<bind xmlns='urn:xmpp:bind:0'/><resume ${SM} previd='${id}' h='0'/>`)
  t.match(again.heard, new RegExp(`<authorization-identifier>${address}</authorization-identifier><resumed `))
  t.match(again.heard, /<\/success><message[^]*one/)
  t.notMatch(again.heard, /features|bound/)
  const missed = await sasl2(s, `<bind xmlns='urn:xmpp:bind:0'/><resume ${SM} previd='gone' h='0'/>`)
  await missed.until('</stream:features>')
  t.match(missed.heard, /<failed xmlns="urn:xmpp:sm:3"><item-not-found[^]*<bound/)
})

scene('closing the stream ends the session; a broken connection does not', { modules: MODULES }, async (t, s) => {
  const { client, id } = await managed(s)
  await client.says('</stream:stream>')
  t.equal(s.host.sessions.count, 0)
  const again = await s.loggedIn()
  await again.says(`<resume ${SM} previd='${id}' h='0'/>`)
  t.match(again.heard, /item-not-found/)
  const other = await managed(s)
  await other.client.says('<presence><wrong></presence>')
  t.equal(other.client.error, 'not-well-formed')
  t.equal(s.host.sessions.count, 0, 'a stream error ends the session as well')
})

scene('a server that stops closes resumable streams silently, and others with a stream error', { modules: MODULES }, async (t, s) => {
  const { client } = await managed(s)
  const juliet = await s.bound('balcony', { account: `juliet@${DOMAIN}` })
  await client.says(`<message to='juliet@${DOMAIN}/balcony' type='chat'><body>one</body></message>`)
  await s.server.stop()
  await s.settled()
  t.match(client.heard, /<a xmlns="urn:xmpp:sm:3" h="1"\/>$/)
  t.notMatch(client.heard, /stream:stream|stream:error/)
  t.ok(client.isClosed)
  t.equal(juliet.error, 'system-shutdown')
  t.match(juliet.heard, /one/)
})

const TWO = [roster, presence, message, carbons] as unknown as readonly AnyModule[]

scene('carbons are enabled with Bind 2 on request', { modules: TWO, host: { resources: 5 } }, async (t, s) => {
  const offered = s.connect({ secure: true })
  await offered.opens()
  t.match(offered.heard, /<bind xmlns="urn:xmpp:bind:0"><inline><feature var="urn:xmpp:carbons:2"\/>/)
  const wants = await sasl2(s, "<bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:carbons:2'/></bind>")
  const other = await sasl2(s, "<bind xmlns='urn:xmpp:bind:0'/>")
  const says = await s.bound('orchard')
  const juliet = await s.bound('balcony', { account: `juliet@${DOMAIN}` })
  for (const client of [wants, other, juliet]) await client.says('<presence/>')
  await says.says(`<message to='juliet@${DOMAIN}' type='chat'><body>Soft!</body></message>`)
  t.match(wants.heard, /<sent xmlns="urn:xmpp:carbons:2">/)
  t.notMatch(other.heard, /carbons/)
})
