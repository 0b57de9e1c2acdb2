/**
 * Requests that cost the server much more than the client. No turn of the event loop may take long, whatever is
 * requested.
 */
import { setTimeout as rest } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Row } from '../../lib/storage/sqlite/rows.js'
import { HEADER, SASL, type RawClient } from './peer.js'
import { seed } from './seed.js'
import { DOMAIN, SHIPPED } from './server.js'
import { AttackedServer } from './town.js'
import { temporaryFolder } from '../temporary-folder.js'

/**
 * The limits of an attack: rounds for each device, characters in total (`MOST_SAID`), and unsent bytes per device
 * (`UNREAD`) above which it sends no more.
 */
const ROUNDS = 200
const MOST_SAID = 16 * 1024 * 1024
const UNREAD = 256 * 1024
const MALLORY = `mallory@${DOMAIN}`
/** The number of entries in mallory's archive: the most that is kept for an account. */
const ENTRIES = 200_000
/** The number of large entries with the same id. A stanza has at most 256 KiB. */
const LARGE = 100
const CONTACTS = 1000
const LETTERS = 'abcdefghijklmnopqrstuvwxyz012345'

// ---- Stored rows ----------------------------------------------------------------------------------

/** Yields the rows of mallory's archive. In each entry with words, each of the 32 letters begins a word. */
function * archive (store: number): Generator<Row> {
  const text = LETTERS.split('').map(letter => `${letter}x`).join(' ')
  for (let n = 0; n < ENTRIES; n++) {
    yield ['append', store, MALLORY, `e${n}`, 1_700_000_000_000 + n, `tybalt@${DOMAIN}`, `tybalt@${DOMAIN}`, 100, JSON.stringify(`<message from='tybalt@${DOMAIN}' to='${MALLORY}'><body>x</body></message>`), null, n < 20_000 ? text : null]
  }
  const large = JSON.stringify(`<message from="${MALLORY}/cave" to="romeo@${DOMAIN}" id="same" type="chat"><body>${'x'.repeat(200_000)}</body></message>`)
  for (let n = 0; n < LARGE; n++) {
    yield ['append', store, MALLORY, `large${n}`, 1_710_000_000_000 + n, `romeo@${DOMAIN}`, `romeo@${DOMAIN}`, large.length, large, `${MALLORY} same`, null]
  }
}

function * contacts (store: number): Generator<Row> {
  for (let n = 0; n < CONTACTS; n++) {
    const item = { name: 'n'.repeat(200), groups: ['g'.repeat(200)], subscription: 'both', ask: false, approved: false, listed: true }
    yield ['put', store, MALLORY, `contact${n}@${n % 2 === 0 ? DOMAIN : 'elsewhere.invalid'}`, JSON.stringify(item)]
  }
}

// ---- Attacks ----------------------------------------------------------------------------------------

interface Attack {
  /** Returns what each device sends in round `n`. */
  readonly says: (n: number) => string
  readonly first?: string
  readonly devices?: number
}

const WORDS = LETTERS.split('').join(' ')
const field = (name: string, value: string): string => `<field var='${name}'><value>${value}</value></field>`
const query = (fields: string, more = '', id = ''): string =>
  `<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2' ${id}><x xmlns='jabber:x:data' type='submit'>${field('FORM_TYPE', 'urn:xmpp:mam:2')}${fields}</x>${more}</query></iq>`
const paged = (inner: string): string => `<set xmlns='http://jabber.org/protocol/rsm'>${inner}</set>`
/** Addresses that are expensive to prepare: each has eight internationalized labels, and no two are alike. */
const domains = (n: number, many: number): string => Array.from({ length: many }, (_, i) =>
  `<item jid='${Array.from({ length: 8 }, (_, k) => `ä${n}x${i}${'öüé中'.slice(0, 1 + k % 4)}`).join('.')}.lit'/>`).join('')
const blocking = (items: string): string => `<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'>${items}</block></iq>`
const vCard = `<iq type='set' id='v'><vCard xmlns='vcard-temp'>${`<N>${'x'.repeat(3)}</N>`.repeat(9000)}</vCard></iq>`

const ATTACKS: Readonly<Record<string, Attack>> = {
  'retractions of many large messages with one id': {
    says: n => `<message to='romeo@${DOMAIN}' type='chat' id='r${n}'><retract id='same' xmlns='urn:xmpp:message-retract:1'/><store xmlns='urn:xmpp:hints'/></message>`,
  },
  'searches by many short beginnings of words': { says: () => query(field('{urn:xmpp:fulltext:0}fulltext', WORDS)) },
  'counts of what is found': { says: () => query(field('{urn:xmpp:fulltext:0}fulltext', WORDS), paged('<max>0</max>')) },
  'counts of an archive': { says: () => query(field('with', `tybalt@${DOMAIN}`), paged('<max>0</max>')) },
  'filters that match nothing': { says: () => query(field('with', `nobody@${DOMAIN}`)) },
  'pages of large messages': { says: () => query(field('with', `romeo@${DOMAIN}`)) },
  'pages of many messages': { says: () => query('', paged('<max>5000</max>')) },
  'queries with long ids': { says: () => query('', '', `queryid='${'x'.repeat(100_000)}'`) },
  'lists of ids': { says: n => query(`<field var='ids' type='list-multi'>${Array.from({ length: 500 }, (_, i) => `<value>e${n * 500 + i}</value>`).join('')}</field>`) },
  'metadata': { says: () => "<iq type='get' id='m'><metadata xmlns='urn:xmpp:mam:2'/></iq>" },
  'addresses of international domains in one stanza': { says: n => blocking(domains(n, 865)) },
  'archive preferences with international domains': {
    says: n => `<iq type='set' id='p'><prefs xmlns='urn:xmpp:mam:2' default='always'><always>${domains(n, 865).replaceAll(/<item jid='([^']*)'\/>/g, '<jid>$1</jid>')}</always><never/></prefs></iq>`,
  },
  'presence that goes and comes': { says: () => "<presence/><presence type='unavailable'/>" },
  'presence to thousands of addresses': { says: n => Array.from({ length: 20 }, (_, i) => `<presence to='x${n}y${i}@${i % 2 === 0 ? DOMAIN : 'elsewhere.invalid'}'/>`).join('') },
  'presence that changes': { says: n => `<presence><status>${n}</status></presence>` },
  'its whole roster': { says: () => "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>" },
  'changes of the roster': { says: n => `<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='contact${n % CONTACTS}@${n % 2 === 0 ? DOMAIN : 'elsewhere.invalid'}' name='${n}'/></query></iq>`, devices: 20 },
  'a large vCard': { first: vCard, says: () => "<iq type='get' id='v'><vCard xmlns='vcard-temp'/></iq>" },
  'block lists': {
    first: blocking(Array.from({ length: 900 }, (_, n) => `<item jid='b${n}@elsewhere.invalid'/>`).join('')),
    says: n => `<iq type='get' id='l'><blocklist xmlns='urn:xmpp:blocking'/></iq><iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='n${n % 50}.lit'/></block></iq>`,
  },
  'everything unblocked, and blocked': {
    says: () => `<iq type='set' id='u'><unblock xmlns='urn:xmpp:blocking'/></iq>${blocking(Array.from({ length: 900 }, (_, n) => `<item jid='b${n}@x.lit'/>`).join(''))}`,
  },
  'private storage': {
    first: `<iq type='set' id='s'><query xmlns='jabber:iq:private'><n xmlns='a:b'>${'<x/>'.repeat(9000)}</n></query></iq>`,
    says: () => "<iq type='get' id='s'><query xmlns='jabber:iq:private'><n xmlns='a:b'/></query></iq>",
  },
  'push registrations': {
    says: n => `<iq type='set' id='e'><enable xmlns='urn:xmpp:push:0' jid='push${n}.invalid' node='${n}'><x xmlns='jabber:x:data' type='submit'>${field('FORM_TYPE', 'http://jabber.org/protocol/pubsub#publish-options')}${field('secret', 'x'.repeat(1000)).repeat(50)}</x></enable></iq>`,
  },
  'forms of many fields': { says: () => query(Array.from({ length: 3000 }, (_, i) => field(`f${i}`, 'x')).join('')) },
  'deep elements': { says: () => `<message to='${DOMAIN}'>${'<a>'.repeat(60)}${'</a>'.repeat(60)}</message>`.repeat(50) },
  'attributes': { says: () => `<message to='${DOMAIN}'>${`<a ${Array.from({ length: 60 }, (_, i) => `x${i}='&#38;&lt;'`).join(' ')}/>`.repeat(150)}</message>` },
  'entities': { says: () => `<message to='nobody@${DOMAIN}'><body>${'&lt;&#x1F600;'.repeat(10_000)}</body></message>` },
}

/** The answer to a disco#info request for a hash, as large as a stanza may be. The server has to sort its values. */
const huge = (id: string): string => `<iq type='result' id='${id}' to='${DOMAIN}'><query xmlns='http://jabber.org/protocol/disco#info'>` +
  `<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>f</value></field><field var='a'>${
    Array.from({ length: 9000 }, (_, n) => `<value>${n * 7919 % 9000}</value>`).join('')}</field></x></query></iq>`

const devicesOf = async (town: AttackedServer, many: number): Promise<readonly RawClient[]> =>
  await Promise.all(Array.from({ length: many }, async (_, n) => await (await town.visitor(50 + n)).comes('mallory', `r${n}`)))

/**
 * Runs an attack from several devices while two users talk. The work of an attack is bounded, and its end does not wait
 * for paused devices.
 */
async function attacks (t: Test, town: AttackedServer, { says, first, devices: many = 4 }: Attack): Promise<void> {
  await town.talks(t, async () => {
    const devices = await devicesOf(town, many)
    if (first !== undefined) {
      devices[0]?.says(first)
      await devices[0]?.gets(' id="')
    }
    for (const device of devices) device.isDeaf = true
    let said = 0
    for (let n = 0; n < ROUNDS && said < MOST_SAID; n++) {
      for (const device of devices) {
        if (device.isClosed || device.socket.writableLength > UNREAD) continue
        const text = says(n)
        said += text.length
        device.says(text)
      }
      await rest(n < ROUNDS / 2 ? 0 : 5)
    }
    for (const device of devices) device.drops('reset')
  })
}

t.setTimeout(1_200_000)
t.test('one account cannot make a turn long, whatever it requests', { timeout: 1_200_000 }, async t => {
  const folder = temporaryFolder(t)
  seed(folder, { 'mam.messages': { kind: 'journal', rows: archive }, 'roster.items': { kind: 'records', rows: contacts } })
  const town = await AttackedServer.open(t, { folder, storage: 'sqlite', durability: 'os', modules: SHIPPED })
  for (const [what, attack] of Object.entries(ATTACKS)) {
    await t.test(what, { timeout: 1_200_000 }, async t => { await attacks(t, town, attack) })
  }
})

t.test('strangers and unverifiable hashes cannot make a turn long', { timeout: 1_200_000 }, async t => {
  const town = await AttackedServer.open(t, { storage: 'sqlite', durability: 'os', modules: SHIPPED.map(name => name === 'register' ? 'register = { open = true, accountsPerHour = 100000 }\n#' : name) })

  await t.test('a disco#info form of thousands of values makes no turn long', async t => {
    let hashes = 0
    await town.talks(t, async () => {
      const [device] = await devicesOf(town, 1)
      if (device === undefined) throw new Error('nobody came')
      for (let n = 0; n < 2; n++) { // more would wait for the rate limit in bytes
        const hash = `v${hashes++}`
        device.says(`<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='${hash}'/></presence>`)
        const asked = await device.gets(`n#${hash}`)
        device.says(huge(/<iq [^>]*?id=["']([^"']+)["']/.exec(asked.slice(asked.lastIndexOf('<iq ')))?.[1] ?? ''))
      }
      await device.pings()
      device.drops('reset')
    })
  })

  await t.test('aborted logins and wrong passwords make no turn long', async t => {
    await town.talks(t, async () => {
      for (let round = 0; round < 10; round++) {
        const strangers = await Promise.all(Array.from({ length: 30 }, async (_, n) => await town.visitor(n)))
        for (const [n, stranger] of strangers.entries()) {
          stranger.isDeaf = true
          const scram = `<auth xmlns='${SASL}' mechanism='SCRAM-SHA-1'>${Buffer.from(`n,,n=name${n},r=abcdef`).toString('base64')}</auth><abort xmlns='${SASL}'/>`
          const plain = `<auth xmlns='${SASL}' mechanism='PLAIN'>${Buffer.from(`\0tybalt${n}\0${'x'.repeat(700)}`).toString('base64')}</auth>`
          stranger.says(HEADER + (n % 2 === 0 ? scram : plain).repeat(20))
        }
        await rest(20)
        for (const stranger of strangers) stranger.drops('reset')
      }
    })
  })

  await t.test('thousands of registrations make no turn long', async t => {
    const made = (name: string): string => `<iq type='set' id='r'><query xmlns='jabber:iq:register'><username>${name}</username><password>${'p'.repeat(500)}</password></query></iq>`
    let names = 0
    await town.talks(t, async () => {
      const devices = await Promise.all(Array.from({ length: 10 }, async (_, n) => await town.visitor(n)))
      for (const device of devices) {
        await device.opens()
        device.says(made(`first${names++}`))
        t.match(await device.gets('<iq').catch(String), /type=["']result/)
        device.isDeaf = true
      }
      for (let n = 0; n < ROUNDS; n++) {
        for (const device of devices) {
          if (device.socket.writableLength < UNREAD) device.says(made(`made${names++}`))
        }
        await rest(1)
      }
      for (const device of devices) device.drops('reset')
    })
  })
})
