/** What a stranger learns of names: nothing says whether there is such an account, but the error to a message. */
import t, { type Test } from 'tap'
import { IqHandlers } from '../../lib/host/iq.js'
import { ReleaseOrder } from '../../lib/host/order.js'
import { enterFromServer } from '../../lib/host/remote.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import type { Shape } from '../../lib/storage/store.js'
import { attributeOf } from '../../lib/xml/element.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { addressed, Stanza, type Kind } from '../../lib/xmpp/stanza.js'
import type { Device } from '../device.js'
import { parseElement } from '../parse.js'
import { scenario, stand, type Scenario } from '../scenario.js'

const HOST = 'capulet.lit'
const MODULES = [
  'blocking', 'caps', 'carbons', 'client-access-management', 'contact-addresses', 'csi', 'disco', 'last-activity', 'limits', 'mam', 'message',
  'offline', 'ping', 'presence', 'private', 'push', 'register', 'roster', 'stream-management', 'time', 'vcard', 'version',
]
/** Enough that no rate ends the table. */
const RATES = { limits: { session: 100_000, address: 1_000_000, messages: 1_000_000, requests: 1_000_000 } }

/** What each answer is compared without: which of the names it is about. */
const blind = (text: string): string => text.replace(/(here|away|none)@/g, 'NAME@').replace(/ id="[^"]*"/g, '')

interface Asker { readonly name: string, readonly ask: (stanza: string) => Promise<readonly string[]> }

/** A user of the same host, whom nobody knows. */
async function localStranger (s: Scenario): Promise<Asker> {
  const device: Device = await s.device(`tybalt@${HOST}/street`)
  return {
    name: 'a local stranger',
    ask: async stanza => {
      device.forget()
      await device.says(stanza)
      // A roster push is about whom the stranger asks, and comes from the stranger's own server.
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
  router.remote = { deliver: stanza => { heard.push(stanza.whole().toString()) }, bounced: () => {} }
  const order = new ReleaseOrder(s.storage)
  return {
    name: 'a user of another server',
    ask: async text => {
      heard = []
      const element = parseElement(text)
      const to = parseJid(attributeOf(element, 'to') ?? '')
      const stanza = new Stanza(element.getName() as Kind, element, parseJid('paris@elsewhere.example/x'), to)
      await enterFromServer(router, s.host(HOST), addressed(stanza, to), order)
      await s.settled()
      return heard.map(blind)
    },
  }
}

/** Accounts with a past: one is online, one was. Nobody has the third name. */
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

/** Every request that a module answers, at whatever address, and one that none does. */
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

t.test('no request tells an account from a name that nobody has, whoever asks, whatever it is about', async t => {
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

t.test('no presence tells them apart', async t => {
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

t.test('a rate that a stranger has used up tells them apart no more than what it was used for', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: [HOST], settings: { limits: { ...RATES.limits, requests: 4 } } })
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

/** What is read of stores, in order. */
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

t.test('what a stranger asks is read alike for an account and for a name that nobody has', async t => {
  const storage = new CountedStorage()
  const past = await stand({ modules: MODULES, hosts: [HOST], storage, settings: RATES })
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
      // Nothing of either name is in memory.
      const s = await stand({ modules: MODULES, hosts: [HOST], storage, settings: RATES })
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
