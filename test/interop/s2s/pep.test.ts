/** Nodes of accounts, with real neighbours: notifications and items both ways, across restarts of either side. */
import { createHash, randomUUID } from 'node:crypto'
import { xml } from '@xmpp/client'
import t, { type Test } from 'tap'
import { declares } from '../interest.js'
import { missing } from '../process.js'
import { Device, Quarter, startEjabberd, startProsody, startSestina, trustAll, type Stanza } from './servers.js'

const OURS = 'montague.example'
const THEIRS = 'capulet.example'
const skip = process.getuid?.() !== 0 ? 'needs root, for DNS on port 53 and a mount namespace' : missing({ prosody: 'prosody', erl: 'ejabberd', unshare: 'util-linux' })
const PUBSUB = 'http://jabber.org/protocol/pubsub'
const DATA = 'urn:xmpp:avatar:data'
const METADATA = 'urn:xmpp:avatar:metadata'
const OMEMO = 'eu.siacs.conversations.axolotl'
const DEVICES = `${OMEMO}.devicelist`
const BUNDLE = `${OMEMO}.bundles:1`

t.setTimeout(1_200_000)

/** Sends presence with the interest in avatars and OMEMO devices. */
const wants = (device: Device): Promise<void> => declares(device.xmpp, [METADATA, DEVICES])

async function publishes (device: Device, node: string, id: string, payload: Stanza): Promise<void> {
  const field = (name: string, value: string, type?: string): Stanza => xml('field', { var: name, type }, xml('value', {}, value))
  const request = `p-${node}-${id}`
  await device.says(xml('iq', { type: 'set', id: request }, xml('pubsub', { xmlns: PUBSUB },
    xml('publish', { node }, xml('item', { id }, payload)),
    xml('publish-options', {}, xml('x', { xmlns: 'jabber:x:data', type: 'submit' },
      field('FORM_TYPE', `${PUBSUB}#publish-options`, 'hidden'), field('pubsub#access_model', 'open'), field('pubsub#persist_items', 'true'))))))
  const reply = await device.gets('the result', stanza => stanza.attrs['id'] === request)
  if (reply.attrs['type'] !== 'result') throw new Error(reply.toString())
}

/** Publishes a picture, and what names it, with the hash of the picture as id (XEP-0084 §4). */
async function wears (device: Device, picture: Buffer): Promise<string> {
  const id = createHash('sha1').update(picture).digest('hex')
  await publishes(device, DATA, id, xml('data', { xmlns: DATA }, picture.toString('base64')))
  await publishes(device, METADATA, id, xml('metadata', { xmlns: METADATA },
    xml('info', { id, bytes: String(picture.length), type: 'image/png', width: '64', height: '64' })))
  return id
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

async function reads (device: Device, account: string, node: string): Promise<string> {
  const id = `r-${randomUUID()}`
  await device.says(xml('iq', { type: 'get', id, to: account }, xml('pubsub', { xmlns: PUBSUB }, xml('items', { node }))))
  return (await device.gets('the items', stanza => stanza.attrs['id'] === id)).toString()
}

/** A picture; servers do not look at its octets. */
const picture = (of: string): Buffer => Buffer.from(`the picture of ${of}`)

/** Each of the two publishes an avatar and OMEMO keys. */
async function dress (device: Device, look: string): Promise<void> {
  await wears(device, picture(look))
  await publishes(device, BUNDLE, 'current', xml('bundle', { xmlns: OMEMO }, xml('identityKey', {}, Buffer.from(look).toString('base64'))))
  await publishes(device, DEVICES, 'current', xml('list', { xmlns: OMEMO }, xml('device', { id: '1' })))
}

/** One is told what the other has published, and reads it. */
async function sees (t: Test, one: Device, other: Device, look: string): Promise<void> {
  const id = createHash('sha1').update(picture(look)).digest('hex')
  await one.gets('the avatar', isAbout(other.bare, METADATA, id))
  await one.gets('the list of devices', isAbout(other.bare, DEVICES, 'current'))
  await finds(t, one, other.bare, look)
}

async function finds (t: Test, one: Device, other: string, look: string): Promise<void> {
  t.match(await reads(one, other, DATA), picture(look).toString('base64'), `${one.bare} gets the picture`)
  t.match(await reads(one, other, DEVICES), '<device id="1"', `${one.bare} gets the list of devices`)
  t.match(await reads(one, other, BUNDLE), Buffer.from(look).toString('base64'), `${one.bare} gets the bundle`)
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
  await wants(romeo)
  await wants(juliet)
  const both = [[romeo, juliet], [juliet, romeo]] as const
  for (const [one, other] of both) {
    await dress(one, `${one.bare} at first`)
    await sees(t, other, one, `${one.bare} at first`)
  }
  t.pass('each is told of what the other publishes')

  await romeo.leaves()
  await ours.stop()
  await ours.start()
  const again = await Device.of(t, ours, 'romeo')
  await wants(again)
  await juliet.says(xml('presence', { type: 'unavailable' }))
  await wants(juliet)
  await sees(t, juliet, again, `${romeo.bare} at first`)
  await finds(t, again, juliet.bare, `${juliet.bare} at first`)
  await dress(again, `${romeo.bare} later`)
  await sees(t, juliet, again, `${romeo.bare} later`)
  t.pass('after a restart of ours, their user is told again')

  await juliet.leaves()
  await theirs.stop()
  await theirs.start()
  const back = await Device.of(t, theirs, 'juliet', 'balcony')
  await wants(back)
  await sees(t, back, again, `${romeo.bare} later`)
  await finds(t, again, juliet.bare, `${juliet.bare} at first`)
  await dress(back, `${juliet.bare} later`)
  await sees(t, again, back, `${juliet.bare} later`)
  t.pass('after a restart of theirs, our user is told again')
}

for (const [name, start] of Object.entries({ Prosody: startProsody, ejabberd: startEjabberd })) {
  t.test(`users of Sestina and ${name} get each other's avatars and OMEMO devices, also after a restart of either`, { skip }, async t => { await play(t, start) })
}
