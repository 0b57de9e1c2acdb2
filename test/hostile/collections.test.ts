/**
 * An account's collections, each filled twice: with many small things while only their number is bounded, and with few
 * large ones while only their bytes are. Each bound holds by itself, and takes nothing from another account.
 */
import t, { type Test } from 'tap'
import type { Device } from '../device.js'
import { scenario, type Scene } from '../scenario.js'
import { conditionOf } from '../stanzas.js'

const DOMAIN = 'capulet.lit'
/** The bounds that count in an attack; the other one is far away. */
const ITEMS = 20
const BYTES = 65_536
/** The bytes of a large thing, about: the longest parts of an address that RFC 7622 §3.1 allows are 1,023 bytes. */
const LARGE = 2000
const FAR = 10_000

interface Collection {
  readonly module: string
  /** The settings under which only the number counts, and those under which only the bytes do. */
  readonly few: Readonly<Record<string, unknown>>
  readonly large: Readonly<Record<string, unknown>>
  /** Returns the stanza that adds the thing with the number `n`, of about LARGE bytes if `isLarge`. */
  readonly add: (n: number, isLarge: boolean) => string
  /** The least and the most large things that have room. Undefined if each has a bound of its own. */
  readonly fits?: readonly [least: number, most: number]
  readonly items?: number
}

const set = (n: number, payload: string): string => `<iq type='set' id='q${n}'>${payload}</iq>`
const part = (letter: string): string => letter.repeat(LARGE / 2)
const long = (n: number): string => `${part('x')}@d${n}.lit/${part('r')}`
const address = (n: number, isLarge: boolean): string => isLarge ? long(n) : `x@d${n}.lit`

const COLLECTIONS: Readonly<Record<string, Collection>> = {
  'the roster': {
    module: 'roster',
    few: { items: ITEMS, bytes: '1MiB' },
    large: { items: FAR, bytes: `${BYTES}B` },
    add: (n, isLarge) => set(n, `<query xmlns='jabber:iq:roster'><item jid='x@d${n}.lit' name='${isLarge ? part('n') : 'n'}'>${isLarge ? `<group>${part('g')}</group>` : ''}</item></query>`),
    fits: [25, 33],
  },
  'the block list': {
    module: 'blocking',
    few: { items: ITEMS, bytes: '1MiB' },
    large: { items: FAR, bytes: `${BYTES}B` },
    add: (n, isLarge) => set(n, `<block xmlns='urn:xmpp:blocking'><item jid='${address(n, isLarge)}'/></block>`),
    fits: [25, 33],
  },
  // The bounds of archive preferences are no settings: 1,000 addresses, and 128 KiB.
  'the archive preferences': {
    module: 'mam',
    few: {},
    large: {},
    add: (n, isLarge) => set(n, `<prefs xmlns='urn:xmpp:mam:2' default='always'><always>${
      Array.from({ length: isLarge ? n + 1 : 100 * (n + 1) }, (_, i) => `<jid>${address(i, isLarge)}</jid>`).join('')}</always><never/></prefs>`),
    fits: [60, 66],
    items: 10,
  },
  'the push registrations': {
    module: 'push',
    few: { registrations: ITEMS },
    large: {},
    add: (n, isLarge) => set(n, `<enable xmlns='urn:xmpp:push:0' jid='push${n}.lit' node='${isLarge ? part('n') : 'n'}'/>`),
  },
  'the private storage': {
    module: 'private',
    few: { pieces: ITEMS, bytes: '1MiB' },
    large: { pieces: FAR, bytes: `${BYTES}B` },
    add: (n, isLarge) => set(n, `<query xmlns='jabber:iq:private'><n${n} xmlns='a:b'>${isLarge ? 'x'.repeat(LARGE) : ''}</n${n}></query>`),
    fits: [25, 33],
  },
  // The bytes follow from the number: 128 for each on average.
  'the recipients of directed presence': {
    module: 'presence',
    few: { directedRecipients: ITEMS },
    large: { directedRecipients: BYTES / 128 },
    add: (n, isLarge) => `<presence id='q${n}' to='${address(n, isLarge)}'/>`,
    fits: [25, 33],
  },
}

const isRefused = (device: Device, n: number): boolean =>
  device.unread.some(stanza => stanza.attrs['id'] === `q${n}` && conditionOf(stanza) === 'resource-constraint')

/** Adds things until one is refused. Returns how many were accepted. */
async function fill (device: Device, { add }: Collection, isLarge: boolean): Promise<number> {
  for (let n = 0; n < FAR; n++) {
    await device.says(add(n, isLarge))
    if (isRefused(device, n)) return n
    device.forget()
  }
  throw new Error(`${FAR} were accepted`)
}

async function attacked (t: Test, { module, ...collection }: Collection, isLarge: boolean): Promise<number> {
  const settings: Scene['settings'] = { [module]: isLarge ? collection.large : collection.few }
  const s = await scenario(t, { modules: ['presence', 'roster', module], hosts: [DOMAIN], settings })
  const mallory = await s.device(`mallory@${DOMAIN}/cave`)
  const accepted = await fill(mallory, { module, ...collection }, isLarge)
  mallory.forget()
  await mallory.says(collection.add(accepted + 1, isLarge))
  t.ok(isRefused(mallory, accepted + 1), 'the next one is refused as well')
  const juliet = await s.device(`juliet@${DOMAIN}/balcony`)
  await juliet.says(collection.add(0, false))
  t.notOk(isRefused(juliet, 0), 'another account has room')
  return accepted
}

t.test('each collection of an account has a bound in number', async t => {
  for (const [what, collection] of Object.entries(COLLECTIONS)) {
    await t.test(what, async t => { t.equal(await attacked(t, collection, false), collection.items ?? ITEMS) })
  }
})

t.test('each collection of an account has a bound in bytes', async t => {
  for (const [what, collection] of Object.entries(COLLECTIONS)) {
    const { fits: [least, most] = [] } = collection
    if (least === undefined || most === undefined) continue
    await t.test(what, async t => {
      const accepted = await attacked(t, collection, true)
      t.ok(accepted >= least && accepted <= most, `${accepted} of ${LARGE} bytes were accepted`)
    })
  }
})

t.test('each push registration has a bound in bytes', async t => {
  const s = await scenario(t, { modules: ['presence', 'push'], hosts: [DOMAIN] })
  const mallory = await s.device(`mallory@${DOMAIN}/cave`)
  const enable = async (node: number, secret: number): Promise<unknown> => conditionOf(await mallory.asks(
    `<iq type='set' id='e'><enable xmlns='urn:xmpp:push:0' jid='push.lit' node='${'n'.repeat(node)}'><x xmlns='jabber:x:data' type='submit'>` +
    `<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field><field var='secret'><value>${'s'.repeat(secret)}</value></field></x></enable></iq>`))
  t.equal(await enable(1024, 7000), undefined)
  t.equal(await enable(1025, 0), 'not-acceptable')
  t.equal(await enable(1, 8192), 'not-acceptable')
})

t.test('a vCard has a bound in bytes', async t => {
  const s = await scenario(t, { modules: ['presence', 'vcard'], hosts: [DOMAIN], settings: { vcard: { bytes: '10KiB' } } })
  const mallory = await s.device(`mallory@${DOMAIN}/cave`)
  const card = (length: number): string => `<iq type='set' id='v'><vCard xmlns='vcard-temp'><FN>${'x'.repeat(length)}</FN></vCard></iq>`
  t.equal(conditionOf(await mallory.asks(card(10_000))), undefined)
  t.equal(conditionOf(await mallory.asks(card(10_240))), 'resource-constraint')
})

t.test('the subscription requests that wait for an account have a bound in number and in bytes, and one site fills half of it', async t => {
  for (const [isLarge, settings] of [[false, { requests: ITEMS, requestBytes: '64MiB' }], [true, { requests: FAR, requestBytes: `${BYTES}B` }]] as const) {
    const s = await scenario(t, { modules: ['presence', 'roster'], hosts: [DOMAIN, 'montague.lit', 'verona.lit'], settings: { roster: settings } })
    await s.account(`juliet@${DOMAIN}`)
    const request = `<presence id='q0' type='subscribe' to='juliet@${DOMAIN}'>${isLarge ? `<status>${'x'.repeat(LARGE)}</status>` : ''}</presence>`
    const fills = async (domain: string): Promise<number> => {
      for (let n = 0; n < 100; n++) {
        const device = await s.device(`x${n}@${domain}/x`)
        await device.says(request)
        if (isRefused(device, 0)) return n
      }
      return 100
    }
    const [first, second] = [await fills('montague.lit'), await fills('verona.lit')]
    const all = isLarge ? BYTES / LARGE : ITEMS
    t.ok(first >= 0.45 * all && first <= all / 2, `${first} of one site`)
    t.ok(second >= 0.2 * all && second <= all / 4, `${second} of another one`)
  }
})
