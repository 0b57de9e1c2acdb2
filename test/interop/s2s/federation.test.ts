/** Sestina with real neighbours: Prosody and ejabberd from Debian's packages. */
import { xml } from '@xmpp/client'
import t, { type Test } from 'tap'
import { missing } from '../process.js'
import { Device, logged, Quarter, startEjabberd, startProsody, startSestina, trustAll, type Neighbour, type Stanza, type Trust } from './servers.js'

// Not below .test: libunbound, which Prosody uses for DNS if lua-unbound is installed, answers for that domain itself.
const OURS = 'montague.example'
const THEIRS = 'capulet.example'
const NEIGHBOURS = { Prosody: startProsody, ejabberd: startEjabberd }
const skip = process.getuid?.() !== 0 ? 'needs root, for DNS on port 53 and a mount namespace' : missing({ prosody: 'prosody', erl: 'ejabberd', unshare: 'util-linux' })

t.setTimeout(1_200_000)

interface Stage {
  readonly ours: Neighbour
  readonly theirs: Neighbour
  readonly romeo: Device
  readonly juliet: Device
}

async function stage (t: Test, start: typeof startProsody, how: Trust): Promise<Stage> {
  const quarter = await Quarter.build(t, how)
  trustAll(t)
  const ours = await startSestina(quarter, { domains: [OURS] })
  const theirs = await start(quarter, THEIRS)
  t.teardown(() => { if (!t.passing()) t.comment(`---- ours\n${ours.said.slice(-6000)}\n---- theirs\n${theirs.said.slice(-6000)}`) })
  await ours.addUser('romeo')
  await theirs.addUser('juliet')
  return { ours, theirs, romeo: await Device.of(t, ours, 'romeo'), juliet: await Device.of(t, theirs, 'juliet', 'balcony') }
}

const chat = (to: string, body: string, id = body): ReturnType<typeof xml> => xml('message', { to, type: 'chat', id }, xml('body', {}, body))

for (const [name, start] of Object.entries(NEIGHBOURS)) {
  for (const how of [{ trust: 'certificate' }, { trust: 'dialback' }, { trust: 'certificate', direct: true }] as const) {
    const title = 'direct' in how ? 'direct TLS' : how.trust === 'certificate' ? 'EXTERNAL' : 'dialback'
    t.test(`Sestina and ${name} exchange stanzas by ${title}`, { skip }, async t => {
      const { romeo, juliet, ours } = await stage(t, start, how)

      await romeo.says(chat(juliet.bare, 'But soft!'))
      const heard = await juliet.gets('the message', stanza => stanza.getChildText('body') === 'But soft!')
      t.equal(heard.attrs['from'], romeo.full, 'a message goes there')
      await juliet.says(chat(romeo.full, 'Ay me!'))
      t.equal((await romeo.gets('the answer', stanza => stanza.getChildText('body') === 'Ay me!')).attrs['from'], juliet.full, 'a message comes back')

      await romeo.says(xml('iq', { type: 'get', id: 'ping', to: THEIRS }, xml('ping', { xmlns: 'urn:xmpp:ping' })))
      t.equal((await romeo.gets('the pong', stanza => stanza.attrs['id'] === 'ping')).attrs['type'], 'result', 'their server answers a ping')
      await juliet.says(xml('iq', { type: 'get', id: 'gnip', to: OURS }, xml('ping', { xmlns: 'urn:xmpp:ping' })))
      t.equal((await juliet.gets('the pong', stanza => stanza.attrs['id'] === 'gnip')).attrs['type'], 'result', 'our server answers a ping')

      await romeo.says(chat(`nobody@${THEIRS}`, 'Hello?', 'lost'))
      t.equal((await romeo.gets('the error', stanza => stanza.attrs['id'] === 'lost')).attrs['type'], 'error', 'a message to an unknown user there comes back')
      await juliet.says(chat(`nobody@${OURS}`, 'Hello?', 'tsol'))
      t.equal((await juliet.gets('the error', stanza => stanza.attrs['id'] === 'tsol')).attrs['type'], 'error', 'a message to an unknown user here comes back')

      await befriend(t, romeo, juliet)
      if (how.trust === 'certificate' && !('direct' in how)) await logged(ours, 'EXTERNAL')
    })
  }
}

/** Extended key usage serverAuth: public authorities now issue certificates for this only. */
const FOR_SERVERS = ['1.3.6.1.5.5.7.3.1']

for (const [name, start] of Object.entries(NEIGHBOURS)) {
  t.test(`${name} is authenticated by a certificate for servers only`, { skip }, async t => {
    const { romeo, juliet, ours } = await stage(t, start, { trust: 'certificate', usages: FOR_SERVERS })
    await juliet.says(chat(romeo.full, 'Ay me!'))
    await romeo.gets('the message', stanza => stanza.getChildText('body') === 'Ay me!')
    await logged(ours, '"security":"EXTERNAL","msg":"s2s domain accepted"')
    t.pass('by EXTERNAL, and not by dialback')
    await romeo.says(chat(juliet.bare, 'But soft!'))
    await juliet.gets('the answer', stanza => stanza.getChildText('body') === 'But soft!')
  })
}

async function befriend (t: Test, romeo: Device, juliet: Device): Promise<void> {
  const from = (device: Device, type: string | undefined) => (stanza: Stanza): boolean =>
    stanza.is('presence') && (stanza.attrs['from'] ?? '').startsWith(device.bare) && stanza.attrs['type'] === type
  await romeo.says(xml('presence', { type: 'subscribe', to: juliet.bare }))
  await juliet.gets('the request', from(romeo, 'subscribe'))
  await juliet.says(xml('presence', { type: 'subscribed', to: romeo.bare }))
  await romeo.gets('the consent', from(juliet, 'subscribed'))
  await romeo.gets('her presence', from(juliet, undefined))
  await juliet.says(xml('presence', { type: 'subscribe', to: romeo.bare }))
  await romeo.gets('her request', from(juliet, 'subscribe'))
  await romeo.says(xml('presence', { type: 'subscribed', to: juliet.bare }))
  await juliet.gets('his consent', from(romeo, 'subscribed'))
  await juliet.gets('his presence', from(romeo, undefined))
  await juliet.says(xml('presence', { type: 'unavailable' }))
  await romeo.gets('her unavailable presence', from(juliet, 'unavailable'))
  await juliet.says(xml('presence', {}, xml('show', {}, 'away')))
  await romeo.gets('her available presence', stanza => from(juliet, undefined)(stanza) && stanza.getChildText('show') === 'away')
  await juliet.gets('his presence after coming back', from(romeo, undefined))
  t.pass('they subscribe to each other, and see each other come and go')
}
