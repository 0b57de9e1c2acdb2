/** Nothing tells a stranger whether an account exists, except the error to a message. */
import t, { type Test } from 'tap'
import { IqHandlers } from '../../lib/host/iq.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import type { Shape } from '../../lib/storage/store.js'
import { attributeOf } from '../../lib/xml/element.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { addressed, Stanza, type Kind } from '../../lib/xmpp/stanza.js'
import { elsewhere, foreigner } from '../elsewhere.js'
import type { Device } from '../device.js'
import { parseElement } from '../parse.js'
import { scenario, startServer, type Scenario } from '../scenario.js'

const HOST = 'capulet.lit'
const MODULES = [
  'blocking', 'bookmarks', 'caps', 'carbons', 'client-access-management', 'contact-addresses', 'csi', 'disco', 'last-activity', 'limits', 'mam', 'message',
  'offline', 'pep', 'ping', 'presence', 'private', 'push', 'register', 'roster', 'stream-management', 'time', 'vcard', 'version',
]
/** Rates that are high enough for the whole table. */
const RATES = { limits: {
  sessionStanzasPerSecond: 100_000, addressStanzasPerSecond: 1_000_000, strangerMessagesPerMinute: 1_000_000,
  subscriptionRequestsPerMinute: 1_000_000,
} }

/** Removes from an answer what legitimately differs: the name in question and the id. */
const blind = (text: string): string => text.replace(/(here|away|none)@/g, 'NAME@').replace(/ id="[^"]*"/g, '')

interface Asker { readonly name: string, readonly ask: (stanza: string) => Promise<readonly string[]> }

/** A user of the same host who is on no roster. */
async function localStranger (s: Scenario): Promise<Asker> {
  const device: Device = await s.device(`tybalt@${HOST}/street`)
  return {
    name: 'a local stranger',
    ask: async stanza => {
      device.forget()
      await device.says(stanza)
      // A roster push comes from the stranger's own server and names the contact that the stranger asked about.
      const heard = device.unread.filter(element => !element.toString().includes('jabber:iq:roster" ver=')).map(String)
      device.forget()
      return heard.map(blind)
    },
  }
}

/** A user of another server. */
function foreignStranger (s: Scenario): Asker {
  const { router } = s.server
  let heard: string[] = []
  router.remote = elsewhere(stanza => { heard.push(stanza.toElement().toString()) })
  const arrives = foreigner(s.server)
  return {
    name: 'a user of another server',
    ask: async text => {
      heard = []
      const element = parseElement(text)
      const to = parseJid(attributeOf(element, 'to') ?? '')
      const stanza = new Stanza(element.getName() as Kind, element, parseJid('paris@elsewhere.example/x'), to)
      await arrives(addressed(stanza, to))
      await s.settled()
      return heard.map(blind)
    },
  }
}

/** Creates two accounts with stored state: one is online, the other was. The third name has no account. */
async function peopled (s: Scenario): Promise<void> {
  const here = await s.device(`here@${HOST}/orchard`)
  const away = await s.device(`away@${HOST}/orchard`)
  for (const [device, other] of [[here, 'away'], [away, 'here']] as const) {
    await device.says(`<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='friend@${HOST}'/></query></iq>`,
      `<message to='${other}@${HOST}' type='chat' id='m'><body>!</body></message>`)
  }
  await away.loses('connection')
  await s.pass('1h')
  here.forget()
}

/** Runs `run`, and returns every request that a module answers at any address, and one that none answers. */
async function served (run: () => Promise<unknown>): Promise<readonly (readonly [namespace: string, name: string])[]> {
  const found = new Map<string, readonly [string, string]>([['', ['urn:example:unknown', 'query']]])
  const { add } = IqHandlers.prototype
  IqHandlers.prototype.add = function (to, type, namespace, name, answer) {
    found.set(`${namespace} ${name}`, [namespace, name])
    return add.call(this, to, type, namespace, name, answer)
  }
  try {
    await run()
  } finally {
    IqHandlers.prototype.add = add
  }
  return [...found.values()]
}

async function same (t: Test, asker: Asker, what: string, make: (name: string) => string): Promise<void> {
  const none = await asker.ask(make('none'))
  for (const name of ['here', 'away']) t.same(await asker.ask(make(name)), none, `${asker.name}, ${name}: ${what}`)
}

t.test('no request distinguishes an account from an unused name, whoever sends it to whatever address', async t => {
  let stage: Scenario | undefined
  const requests = await served(async () => {
    stage = await scenario(t, { modules: MODULES, hosts: [HOST], settings: RATES })
  })
  if (stage === undefined) throw new Error('no stage')
  const s = stage
  await peopled(s)
  t.ok(requests.length > 20, `${requests.length} requests are known`)
  for (const asker of [await localStranger(s), foreignStranger(s)]) {
    for (const [namespace, name] of requests) {
      for (const type of ['get', 'set', 'result', 'error', 'odd']) {
        for (const resource of ['', '/unknown']) {
          for (const [node, content] of [['', ''], [" node='n'", ''], ['', '<item/>'], ['', "<item jid='paris@elsewhere.example'/>"], ['', '<x/><y/>']]) {
            const payload = `<${name} xmlns='${namespace}'${node ?? ''}>${content ?? ''}</${name}>`
            await same(t, asker, `${type} ${payload} ${resource}`, who => `<iq type='${type}' id='i' to='${who}@${HOST}${resource}'>${payload}</iq>`)
          }
        }
      }
    }
  }
})

t.test('no presence distinguishes an account from an unused name', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: [HOST], settings: RATES })
  await peopled(s)
  const caps = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:example' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>"
  for (const asker of [await localStranger(s), foreignStranger(s)]) {
    for (const type of ['probe', 'subscribe', 'subscribe', 'subscribed', 'unsubscribe', 'unsubscribed', 'unavailable', 'error', 'odd']) {
      for (const resource of ['', '/unknown']) await same(t, asker, `${type} ${resource}`, who => `<presence type='${type}' to='${who}@${HOST}${resource}'/>`)
    }
    for (const resource of ['', '/unknown', '/orchard']) {
      await same(t, asker, `available ${resource}`, who => `<presence to='${who}@${HOST}${resource}'>${caps}</presence>`)
      await same(t, asker, `unavailable ${resource}`, who => `<presence type='unavailable' to='${who}@${HOST}${resource}'/>`)
    }
    const large = `<x xmlns='urn:example'>${'x'.repeat(40_000)}</x>`
    await same(t, asker, 'a very large request', who => `<presence type='subscribe' to='${who}@${HOST}'>${large}</presence>`)
  }
})

t.test('after a stranger exceeds a rate limit, an account and an unused name still look the same', async t => {
  const settings = { limits: { ...RATES.limits, subscriptionRequestsPerMinute: 4 } }
  const s = await scenario(t, { modules: MODULES, hosts: [HOST], settings })
  await peopled(s)
  for (const asker of [await localStranger(s), foreignStranger(s)]) {
    const answers = new Map<string, readonly string[]>()
    for (const name of ['none', 'away']) {
      const heard: string[] = []
      for (let i = 0; i < 6; i++) heard.push(...await asker.ask(`<presence type='subscribe' to='${name}@${HOST}'/>`))
      answers.set(name, heard)
      await s.pass('2m')
    }
    t.same(answers.get('away'), answers.get('none'), asker.name)
    t.match(answers.get('none')?.join(''), /resource-constraint/)
  }
})

/** A storage that records the reads of its stores, in order. */
class CountedStorage extends MemoryStorage {
  readonly reads: string[] = []

  override async open<S> (name: string, shape: Shape<S>): Promise<S> {
    const store = await super.open(name, shape)
    const { reads } = this
    return new Proxy(store as S & object, {
      get (target, key) {
        const value: unknown = Reflect.get(target, key, target)
        if (typeof value !== 'function') return value
        return (...given: unknown[]): unknown => {
          if (['get', 'all', 'page', 'owners', 'count'].includes(String(key))) reads.push(`${name}.${String(key)}`)
          return Reflect.apply(value, target, given)
        }
      },
    })
  }
}

t.test("a stranger's request causes the same reads for an account and for an unused name", async t => {
  const storage = new CountedStorage()
  const past = await startServer({ modules: MODULES, hosts: [HOST], storage, settings: RATES })
  await peopled(past)
  await past.end()
  const query = (namespace: string, name = 'query'): string => `<${name} xmlns='${namespace}'/>`
  const asked = [
    ...['http://jabber.org/protocol/disco#info', 'http://jabber.org/protocol/disco#items', 'jabber:iq:last', 'jabber:iq:roster', 'urn:xmpp:mam:2', 'jabber:iq:register']
      .map(namespace => query(namespace)), query('vcard-temp', 'vCard'), query('urn:ietf:params:xml:ns:vcard-4.0', 'vcard'), query('urn:xmpp:ping', 'ping'),
  ].flatMap(payload => ['get', 'set'].map(type => (who: string) => `<iq type='${type}' id='i' to='${who}@${HOST}'>${payload}</iq>`))
  const said = ['probe', 'subscribe', 'subscribed', 'unsubscribe', 'unsubscribed', 'unavailable']
    .map(type => (who: string) => `<presence type='${type}' to='${who}@${HOST}'/>`)
  for (const make of [...asked, ...said]) {
    const reads = []
    for (const who of ['none', 'away']) {
      // A new server, so that nothing of either name is cached.
      const s = await startServer({ modules: MODULES, hosts: [HOST], storage, settings: RATES })
      const asker = foreignStranger(s)
      await s.settled()
      storage.reads.length = 0
      await asker.ask(make(who))
      reads.push([...storage.reads])
      await s.end()
    }
    t.same(reads[1], reads[0], make('NAME'))
  }
})
