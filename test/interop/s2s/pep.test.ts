/** Nodes of accounts, with real neighbours: notifications and items in both directions, across restarts. */
import { createHash } from 'node:crypto'
import { xml } from '@xmpp/client'
import t, { type Test } from 'tap'
import { missing } from '../process.js'
import { Device, Quarter, startEjabberd, startProsody, startSestina, trustAll, type Stanza } from './servers.js'

const OURS = 'montague.example'
const THEIRS = 'capulet.example'
const skip = process.getuid?.() !== 0 ? 'needs root, for DNS on port 53 and a mount namespace' : missing({ prosody: 'prosody', erl: 'ejabberd', unshare: 'util-linux' })
const PUBSUB = 'http://jabber.org/protocol/pubsub'
const METADATA = 'urn:xmpp:avatar:metadata'
const DEVICES = 'eu.siacs.conversations.axolotl.devicelist'
const INFO = 'http://jabber.org/protocol/disco#info'

t.setTimeout(1_200_000)

/** The features of a client that wants notifications of avatars and of OMEMO devices. */
const FEATURES = [INFO, `${METADATA}+notify`, `${DEVICES}+notify`].sort()
const VER = createHash('sha1').update(['client/pc//T', ...FEATURES].map(one => `${one}<`).join('')).digest('base64')

/** Sends presence with the interest of this client, and answers each server that asks for its features. */
async function declares (device: Device): Promise<void> {
  device.xmpp.iqCallee.get(INFO, 'query', ({ element }: { readonly element: Stanza }) =>
    xml('query', { xmlns: INFO, node: element.attrs['node'] },
      xml('identity', { category: 'client', type: 'pc', name: 'T' }), ...FEATURES.map(feature => xml('feature', { var: feature }))))
  await device.says(xml('presence', {}, xml('c', { xmlns: 'http://jabber.org/protocol/caps', hash: 'sha-1', node: 'urn:t', ver: VER })))
}

async function publishes (device: Device, node: string, id: string, payload: Stanza): Promise<void> {
  const field = (name: string, value: string, type?: string): Stanza => xml('field', { var: name, type }, xml('value', {}, value))
  await device.says(xml('iq', { type: 'set', id: `p-${id}` }, xml('pubsub', { xmlns: PUBSUB },
    xml('publish', { node }, xml('item', { id }, payload)),
    xml('publish-options', {}, xml('x', { xmlns: 'jabber:x:data', type: 'submit' },
      field('FORM_TYPE', `${PUBSUB}#publish-options`, 'hidden'), field('pubsub#access_model', 'open'), field('pubsub#persist_items', 'true'))))))
  const reply = await device.gets('the result', stanza => stanza.attrs['id'] === `p-${id}`)
  if (reply.attrs['type'] !== 'result') throw new Error(reply.toString())
}

const isAbout = (from: string, node: string, id: string) => (stanza: Stanza): boolean =>
  stanza.is('message') && (stanza.attrs['from'] ?? '') === from && stanza.toString().includes(node) && stanza.toString().includes(`id="${id}"`)

async function befriend (romeo: Device, juliet: Device): Promise<void> {
  const from = (device: Device, type: string | undefined) => (stanza: Stanza): boolean =>
    stanza.is('presence') && (stanza.attrs['from'] ?? '').startsWith(device.bare) && stanza.attrs['type'] === type
  for (const [one, other] of [[romeo, juliet], [juliet, romeo]] as const) {
    await one.says(xml('presence', { type: 'subscribe', to: other.bare }))
    await other.gets('the request', from(one, 'subscribe'))
    await other.says(xml('presence', { type: 'subscribed', to: one.bare }))
    await one.gets('the consent', from(other, 'subscribed'))
  }
}

async function reads (device: Device, account: string, node: string, id: string): Promise<string> {
  await device.says(xml('iq', { type: 'get', id, to: account }, xml('pubsub', { xmlns: PUBSUB }, xml('items', { node }))))
  return (await device.gets('the items', stanza => stanza.attrs['id'] === id)).toString()
}

async function play (t: Test, start: typeof startProsody): Promise<void> {
  const quarter = await Quarter.build(t, { trust: 'certificate' })
  trustAll(t)
  const ours = await startSestina(quarter, { domains: [OURS], modules: 'caps = true\npep = true' })
  const theirs = await start(quarter, THEIRS)
  t.teardown(() => { if (!t.passing()) t.comment(`---- ours\n${ours.said.slice(-6000)}\n---- theirs\n${theirs.said.slice(-6000)}`) })
  await ours.addUser('romeo')
  await theirs.addUser('juliet')
  const romeo = await Device.of(t, ours, 'romeo')
  const juliet = await Device.of(t, theirs, 'juliet', 'balcony')
  await befriend(romeo, juliet)
  await declares(romeo)
  await declares(juliet)

  for (const [one, other] of [[romeo, juliet], [juliet, romeo]] as const) {
    await publishes(one, METADATA, 'a1', xml('metadata', { xmlns: METADATA }))
    await other.gets('the avatar', isAbout(one.bare, METADATA, 'a1'))
    await publishes(one, DEVICES, 'current', xml('list', { xmlns: 'eu.siacs.conversations.axolotl' }, xml('device', { id: '1' })))
    await other.gets('the list of devices', isAbout(one.bare, DEVICES, 'current'))
    t.match(await reads(other, one.bare, DEVICES, 'r1'), '<device id="1"')
  }
  t.pass('each is told of what the other publishes')

  await ours.stop()
  await ours.start()
  const again = await Device.of(t, ours, 'romeo')
  await declares(again)
  await juliet.says(xml('presence', { type: 'unavailable' }))
  await declares(juliet)
  await juliet.gets('the last avatar', isAbout(again.bare, METADATA, 'a1'))
  t.match(await reads(juliet, again.bare, DEVICES, 'r2'), '<device id="1"', 'after a restart the items are there')
  await publishes(again, METADATA, 'a2', xml('metadata', { xmlns: METADATA }))
  await juliet.gets('the next avatar', isAbout(again.bare, METADATA, 'a2'))
  t.pass('after a restart contacts elsewhere are told again')
}

for (const [name, start] of Object.entries({ Prosody: startProsody, ejabberd: startEjabberd })) {
  t.test(`users of Sestina and ${name} get each other's avatars and OMEMO devices, also after a restart`, { skip }, async t => { await play(t, start) })
}
