/**
 * Attempts of one account to fill the server's memory, at the default conf: whatever is collected, answered or queued
 * for it has a bound in bytes.
 */
import { setTimeout as rest } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Row } from '../../lib/storage/sqlite/rows.js'
import { RawClient } from './peer.js'
import { seed } from './seed.js'
import { DOMAIN, SHIPPED } from './server.js'
import { AttackedServer } from './town.js'
import { staysBelow } from './turns.js'
import { temporaryFolder } from '../temporary-folder.js'

const MIB = 1024 * 1024
const SM = 'urn:xmpp:sm:3'
const MALLORY = `mallory@${DOMAIN}`
/** The sessions that an account may have at a time. */
const DEVICES = 20
const CONTACTS = 1000
const PING = `<iq type='get' id='last' to='${DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>`

/** A roster of nearly 512 KiB, the most that an account may have. */
function * contacts (store: number): Generator<Row> {
  for (let n = 0; n < CONTACTS; n++) {
    const item = { name: 'n'.repeat(240), groups: ['g'.repeat(200)], subscription: 'none', ask: false, approved: false, listed: true }
    yield ['put', store, MALLORY, `contact${n}@elsewhere.invalid`, JSON.stringify(item)]
  }
}

/** Large entries of an archive: a page of them is 1 MiB. */
function * archive (store: number): Generator<Row> {
  const message = JSON.stringify(`<message from='tybalt@${DOMAIN}' to='${MALLORY}'><body>${'x'.repeat(100_000)}</body></message>`)
  for (let n = 0; n < 200; n++) yield ['append', store, MALLORY, `e${n}`, 1_700_000_000_000 + n, `tybalt@${DOMAIN}`, `tybalt@${DOMAIN}`, message.length, message, null, null]
}

/**
 * `more`: modules with their settings, in place of those with the defaults. `limits`: those of the module of that name.
 */
async function opened (t: Test, more: Readonly<Record<string, string>> = {}, limits = 'true'): Promise<AttackedServer> {
  const folder = temporaryFolder(t)
  seed(folder, { 'mam.messages': { kind: 'journal', rows: archive }, 'roster.items': { kind: 'records', rows: contacts } })
  const modules = SHIPPED.map(name => more[name] ?? name)
  return await AttackedServer.open(t, { folder, storage: 'sqlite', durability: 'os', modules, limits })
}

const memoryOf = async (town: AttackedServer): Promise<number> => {
  const { heap, external } = await town.server.report()
  return heap + external
}

const devicesOf = async (town: AttackedServer, name: string, many: number): Promise<readonly RawClient[]> =>
  await Promise.all(Array.from({ length: many }, async (_, n) => await (await town.visitor(50 + n)).comes(name, `r${n}`)))

/**
 * Runs an attack by devices of mallory while two users talk. Checks that less than `most` MiB more are in memory when
 * it is over, while its devices are still connected.
 */
async function fills (
  t: Test, town: AttackedServer, most: number, attack: (devices: readonly RawClient[]) => Promise<void>, many = DEVICES,
): Promise<void> {
  const before = await memoryOf(town)
  let devices: readonly RawClient[] = []
  await town.talks(t, async () => {
    await leave(town, devices)
    devices = await devicesOf(town, 'mallory', many)
    await attack(devices)
  })
  await growsBelow(t, town, before, most)
  await leave(town, devices)
}

/**
 * Checks that less than `most` MiB more are in memory than `before`. What the server still works on when it is measured
 * is gone when it is measured again; what it keeps is not.
 */
async function growsBelow (t: Test, town: AttackedServer, before: number, most: number): Promise<void> {
  await staysBelow(t, most, async () => (await memoryOf(town) - before) / MIB,
    grown => `${grown.toFixed(1)} MiB more are in memory; less than ${most} are allowed`)
}

async function leave (town: AttackedServer, devices: readonly RawClient[]): Promise<void> {
  if (devices.length === 0) return
  for (const device of devices) device.drops('reset')
  await town.server.quiet(2)
}

/** Sends requests until one is refused for want of room, or all are sent. Returns what was heard. */
async function refused (device: RawClient, count: number, request: (n: number) => string): Promise<string> {
  let heard = ''
  for (let n = 0; n < count && !heard.includes('resource-constraint'); n++) {
    device.says(request(n))
    heard = await device.gets(`id="q${n}"`)
  }
  return heard
}

/** Collections of an account: what one device adds again and again until the account may have no more. */
const COLLECTIONS: Readonly<Record<string, (n: number) => string>> = {
  'its roster': n => `<iq type='set' id='q${n}'><query xmlns='jabber:iq:roster'><item jid='more${n}@elsewhere.invalid' name='${'n'.repeat(1000)}'>${
    Array.from({ length: 50 }, (_, g) => `<group>${g}${'g'.repeat(1000)}</group>`).join('')}</item></query></iq>`,
  'its block list': n => `<iq type='set' id='q${n}'><block xmlns='urn:xmpp:blocking'>${
    Array.from({ length: 20 }, (_, i) => `<item jid='${'x'.repeat(900)}${n}@b${i}.invalid/${'r'.repeat(900)}'/>`).join('')}</block></iq>`,
  'its archive preferences': n => `<iq type='set' id='q${n}'><prefs xmlns='urn:xmpp:mam:2' default='always'><always>${
    Array.from({ length: 100 * (n + 1) }, (_, i) => `<jid>${'x'.repeat(900)}@a${i}.invalid</jid>`).join('')}</always><never/></prefs></iq>`,
  'its push registrations': n => `<iq type='set' id='q${n}'><enable xmlns='urn:xmpp:push:0' jid='push${n}.invalid' node='${'n'.repeat(900)}'><x xmlns='jabber:x:data' type='submit'>` +
    `<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field><field var='secret'><value>${'s'.repeat(900)}</value></field></x></enable></iq>`,
  'its private storage': n => `<iq type='set' id='q${n}'><query xmlns='jabber:iq:private'><n${n} xmlns='a:b'>${'x'.repeat(50_000)}</n${n}></query></iq>`,
  'its directed presence': n => `${Array.from({ length: 20 }, (_, i) => `<presence to='${'x'.repeat(900)}${n}@d${i}.invalid/${'r'.repeat(900)}'/>`).join('')}${PING.replace('last', `q${n}`)}`,
}

/** Answers that are larger than their requests, to devices that read nothing. */
const ANSWERS: Readonly<Record<string, (n: number) => string>> = {
  'its roster': n => `<iq type='get' id='r${n}'><query xmlns='jabber:iq:roster'/></iq>`,
  'pages of its archive': n => `<iq type='set' id='m${n}'><query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>250</max></set></query></iq>`,
}

t.setTimeout(1_200_000)
t.test('one account cannot fill the memory', { timeout: 1_200_000 }, async t => {
  const town = await opened(t)

  for (const [what, request] of Object.entries(COLLECTIONS)) {
    await t.test(`${what} has a bound`, async t => {
      await fills(t, town, 8, async ([device]) => {
        if (device === undefined) throw new Error('nobody came')
        t.match(await refused(device, 1000, request), 'resource-constraint', 'what is too much is refused')
      }, 1)
    })
  }

  for (const [what, request] of Object.entries(ANSWERS)) {
    await t.test(`${DEVICES} devices that ask for ${what} again and again, and read nothing, hold two MiB each at most`, async t => {
      await fills(t, town, 2 * DEVICES, async devices => {
        for (const device of devices) device.socket.pause()
        for (let n = 0; n < 100; n++) {
          for (const device of devices) device.says(request(n))
          await rest(10)
        }
      })
    })
  }

  await t.test('a device that asks for one page of its archive, and reads slowly, gets all of it', async t => {
    const [device] = await devicesOf(town, 'mallory', 1)
    if (device === undefined) throw new Error('nobody came')
    device.says(ANSWERS['pages of its archive']?.(0) ?? '')
    for (let n = 0; n < 20; n++) {
      device.socket.pause()
      await rest(10)
      device.socket.resume()
      await rest(0)
    }
    const heard = await device.gets('id="m0"')
    t.ok(heard.length > MIB / 2, `${heard.length} bytes`)
    device.drops()
  })
})

/** Binds a device with stream management. Its connection acknowledges nothing by itself. */
async function managed (
  town: AttackedServer, name: string, n: number,
): Promise<{ readonly device: RawClient, readonly id: string }> {
  const device = await (await town.visitor(50 + n)).comes(name, `r${n}`)
  device.says(`<enable xmlns='${SM}' resume='true'/>`)
  const id = /id=["']([^"']+)/.exec((await device.gets('<enabled')).split('<enabled')[1] ?? '')?.[1] ?? ''
  device.says('<presence/>')
  await device.pings()
  return { device, id }
}

const LARGE = 60_000
/** Sends `count` large messages, each from a device that has sent little: a device may send 200 KiB at once. */
async function sends (town: AttackedServer, name: string, to: string, count: number): Promise<void> {
  for (let n = 0; n < count; n += 3) {
    const sender = await (await town.visitor(120 + n % 60)).comes(name, 's')
    for (let i = n; i < Math.min(count, n + 3); i++) sender.says(`<message to='${to}' type='chat' id='large${i}'><body>${'x'.repeat(LARGE)}</body></message>`)
    await sender.pings()
    sender.drops()
  }
}

t.test('devices that acknowledge nothing', { timeout: 1_200_000 }, async t => {
  const town = await opened(t)

  await t.test('an account with many of them holds 32 MiB, and takes nothing from another account', async t => {
    const paris = await managed(town, 'paris', 40)
    await sends(town, 'tybalt', `paris@${DOMAIN}`, 3)
    const before = await memoryOf(town)
    await town.talks(t, async () => {
      const devices = await Promise.all(Array.from({ length: DEVICES }, async (_, n) => (await managed(town, 'mallory', n)).device))
      for (const device of devices) device.isDeaf = true
      await sends(town, 'tybalt', MALLORY, 60) // 72 MB for all devices together
      for (const device of devices) device.drops('reset')
    })
    await growsBelow(t, town, before, 48)
    t.notOk(paris.device.isClosed, 'the device of the other account is there')
    paris.device.says(`<a xmlns='${SM}' h='0'/>`)
    await paris.device.pings()
    paris.device.drops()
  })

  await t.test('a device that has left nearly all of its bound unacknowledged can resume', async t => {
    const many = 100 // 6 MB of the 8 MiB that a device may leave unacknowledged
    let n = 41
    await town.talks(t, async () => {
      const resource = `r${n}`
      const { device, id } = await managed(town, 'paris', n++)
      await sends(town, 'paris', `paris@${DOMAIN}/${resource}`, many)
      device.drops('reset')
      const again = await town.visitor(91)
      await again.logsIn('paris')
      again.says(`<resume xmlns='${SM}' previd='${id}' h='0'/>`)
      const heard = await again.gets(`large${many - 1}`)
      const came = [...heard.matchAll(/large(\d+)/g)].map(([, n]) => Number(n))
      t.same(came, Array.from({ length: many }, (_, n) => n))
      again.says(`<a xmlns='${SM}' h='${many}'/>`)
      await again.pings()
      again.drops()
    })
  })
})

t.test('devices of many accounts that acknowledge nothing hold no more than the bound over all, and take nothing from an account with little', { timeout: 1_200_000 }, async t => {
  const bound = 4 * MIB
  const town = await opened(t, { 'stream-management': `stream-management = { totalBytes = "${bound}B" }` }, '{ strangerMessagesPerMinute = 1000000 }')
  let attempt = 0
  const paris = await managed(town, 'paris', 40)
  paris.device.isDeaf = true
  await sends(town, 'tybalt', `paris@${DOMAIN}`, 3)
  const before = await memoryOf(town)
  await town.talks(t, async () => {
    // New accounts for each attempt: what a device did not acknowledge waits for the next one of its account.
    const names = [`mallory${attempt}a`, `mallory${attempt++}b`]
    for (const name of names) await town.server.account(name)
    const devices = await Promise.all(names.map(async (name, n) => (await managed(town, name, n)).device))
    for (const device of devices) device.isDeaf = true
    for (const name of names) await sends(town, 'tybalt', `${name}@${DOMAIN}`, 60) // 7 MiB for both
    // The server waits for the end of a stream that it has closed; the device never answers (RFC 6120 §4.4).
    await Promise.race(devices.map(async device => { await device.gone() }))
    const ended = devices.filter(({ isClosed }) => isClosed).length
    t.equal(ended, 1, 'the session that held most has ended')
    await growsBelow(t, town, before, 10)
    for (const device of devices) device.drops('reset')
  })
  paris.device.isDeaf = false
  t.notOk(paris.device.isClosed, 'the device of an account with little is there')
  paris.device.drops()
})

t.test('an account cannot collect sessions that could be resumed, and guessed ids end the stream', { timeout: 1_200_000 }, async t => {
  const town = await opened(t)
  const before = await town.server.report()
  await town.talks(t, async () => {
    for (let n = 0; n < 200; n += 10) {
      const devices = await Promise.all(Array.from({ length: 10 }, async (_, i) => (await managed(town, 'mallory', n + i)).device))
      for (const device of devices) device.drops('reset')
      await town.server.quiet(2)
    }
    const guesser = await town.visitor(3)
    await guesser.logsIn('mallory')
    for (let n = 0; n < 40; n++) guesser.says(`<resume xmlns='${SM}' previd='${'x'.repeat(5000)}${n}' h='0'/>`)
    t.equal(await guesser.closes(), 'policy-violation')
    await town.server.quiet(2)
    const after = await town.server.report()
    t.ok(after.sessions - before.sessions <= DEVICES, `${after.sessions - before.sessions} of 200 sessions are kept`)
    await growsBelow(t, town, before.heap + before.external, 8)
  })
})

t.test('work after a commit has back-pressure: messages to an account with many app servers do not pile up', { timeout: 1_200_000 }, async t => {
  const town = await opened(t)
  const [device] = await devicesOf(town, 'mallory', 1)
  if (device === undefined) throw new Error('nobody came')
  for (let n = 0; n < 20; n++) {
    device.says(COLLECTIONS['its push registrations']?.(n) ?? '')
    await device.gets(`id="q${n}"`)
  }
  device.drops()
  const before = await memoryOf(town)
  await town.talks(t, async () => {
    const senders = await devicesOf(town, 'tybalt', 4)
    for (const sender of senders) sender.isDeaf = true
    for (let n = 0; n < 2000; n++) for (const sender of senders) sender.says(`<message to='${MALLORY}' type='chat'><body>${n}</body></message>`)
    await rest(3000)
    for (const sender of senders) sender.drops('reset')
  })
  await growsBelow(t, town, before, 16)
})
