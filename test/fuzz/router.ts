/** Random stanzas, valid and odd, from several devices through the whole server in memory. */
import fc from 'fast-check'
import { SaxesParser } from 'saxes'
import { childElements, type Element } from '../../lib/xml/element.js'
import { fromOctets } from '../../lib/xml/writer.js'
import { startServer, type Device, type Scenario } from '../scenario.js'
import { cases, escaped, text, type Target } from './target.js'

const MODULES = ['roster', 'presence', 'message', 'carbons', 'offline', 'mam', 'stream-management', 'csi', 'disco', 'caps', 'blocking', 'private', 'vcard',
  'last-activity', 'version', 'time', 'ping', 'register', 'push']
const ROMEO = 'romeo@montague.lit'
const JULIET = 'juliet@capulet.lit'
/** An account that is nobody's contact. */
const TYBALT = 'tybalt@capulet.lit'
/** Romeo and Juliet see each other, and have two devices and one; nobody sees Tybalt. */
const DEVICES = [`${ROMEO}/orchard`, `${ROMEO}/street`, `${JULIET}/balcony`, `${TYBALT}/square`] as const

const to = fc.constantFrom(undefined, ROMEO, JULIET, TYBALT, ...DEVICES, `${ROMEO}/gone`, 'montague.lit', 'capulet.lit', 'nobody@montague.lit', 'verona.lit',
  'x@verona.lit', 'montague.lit/x')
const type = fc.oneof({ weight: 4, arbitrary: fc.constantFrom('chat', 'normal', 'headline', undefined) }, fc.constantFrom('groupchat', 'error', 'x', ''))
const FORM = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field></x>"
const PAYLOADS = [
  "<query xmlns='jabber:iq:roster'/>", `<query xmlns='jabber:iq:roster'><item jid='${JULIET}' name='J'><group>G</group></item></query>`,
  "<query xmlns='jabber:iq:roster'><item jid='x@verona.lit' subscription='remove'/></query>", "<query xmlns='jabber:iq:roster'><item/><item/></query>",
  "<query xmlns='http://jabber.org/protocol/disco#info'/>", "<query xmlns='http://jabber.org/protocol/disco#items' node='x'/>", "<ping xmlns='urn:xmpp:ping'/>",
  "<vCard xmlns='vcard-temp'/>", "<vCard xmlns='vcard-temp'><FN>F</FN></vCard>", "<query xmlns='jabber:iq:private'><n xmlns='urn:n'/></query>",
  "<query xmlns='jabber:iq:last'/>", "<query xmlns='jabber:iq:version'/>", "<time xmlns='urn:xmpp:time'/>", "<blocklist xmlns='urn:xmpp:blocking'/>",
  "<block xmlns='urn:xmpp:blocking'><item jid='spam.lit'/></block>", "<unblock xmlns='urn:xmpp:blocking'/>", "<query xmlns='urn:xmpp:mam:2'/>",
  `<query xmlns='urn:xmpp:mam:2' queryid='q'>${FORM}<set xmlns='http://jabber.org/protocol/rsm'><max>5</max><before/></set></query>`,
  "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><after>x</after></set></query>", "<metadata xmlns='urn:xmpp:mam:2'/>",
  "<prefs xmlns='urn:xmpp:mam:2' default='roster'><always/><never/></prefs>", "<enable xmlns='urn:xmpp:carbons:2'/>", "<disable xmlns='urn:xmpp:carbons:2'/>",
  "<enable xmlns='urn:xmpp:push:0' jid='push.lit' node='n'/>", "<query xmlns='jabber:iq:register'/>", "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>",
  "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>", "<x xmlns='urn:nobody:knows'/>", '', '<a/><b/>',
] as const
const EXTRAS = ['', "<private xmlns='urn:xmpp:carbons:2'/>", "<no-copy xmlns='urn:xmpp:hints'/>", "<no-store xmlns='urn:xmpp:hints'/>", "<store xmlns='urn:xmpp:hints'/>",
  "<delay xmlns='urn:xmpp:delay' stamp='x'/>", "<active xmlns='http://jabber.org/protocol/chatstates'/>", "<request xmlns='urn:xmpp:receipts'/>",
  "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'/></forwarded></received>",
  "<result xmlns='urn:xmpp:mam:2' id='x'/>", "<p:x xmlns:p='jabber:client'/>", "<retract xmlns='urn:xmpp:message-retract:1' id='m1'/>", "<x:body xmlns:x='jabber:client'/>"] as const

const device = fc.nat(DEVICES.length - 1)
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('message' as const), device, to, type, text, extra: fc.constantFrom(...EXTRAS) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('iq' as const), device, to, type: fc.constantFrom('get' as const, 'set' as const), payload: fc.constantFrom(...PAYLOADS) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('presence' as const), device, type: fc.constantFrom(undefined, 'unavailable', 'probe', 'x'),
    priority: fc.constantFrom('', '<priority>-1</priority>', '<priority>x</priority>', '<priority>5</priority><show>away</show>') }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('ask' as const), device, type: fc.constantFrom('subscribe', 'unsubscribe', 'probe'), to }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('odd' as const), device, said: fc.constantFrom('<iq/>', "<iq type='result' id='x'/>", "<iq type='get' id=''/>",
    "<message to='@'/>", "<presence to='a@b@c'/>", "<inactive xmlns='urn:xmpp:csi:0'/>", "<active xmlns='urn:xmpp:csi:0'/>", "<enable xmlns='urn:xmpp:sm:3' resume='true'/>",
    "<r xmlns='urn:xmpp:sm:3'/>", "<iq type='error' id='e'><error/></iq>", `<message from='${JULIET}' to='${TYBALT}'/>`) }) },
)
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never

const attributesOf = (given: Readonly<Record<string, string | undefined>>): string =>
  Object.entries(given).map(([name, value]) => value === undefined ? '' : ` ${name}='${escaped(value)}'`).join('')

const accountOf = (address: string): string => address.split('/')[0] ?? ''

class World {
  readonly #s: Scenario
  readonly #devices: Device[] = []
  readonly #came = new Map<Device, Element[]>()
  /** Requests by id, with the device that sent them. */
  readonly #asked = new Map<string, Device>()
  /** Words that identify a message, with its sender and recipient. */
  readonly #said = new Map<string, readonly string[]>()
  #count = 0

  private constructor (s: Scenario) { this.#s = s }

  static async begin (): Promise<World> {
    const world = new World(await startServer({ modules: MODULES, hosts: ['montague.lit', 'capulet.lit'] }))
    for (const address of DEVICES) await world.#joins(address)
    await world.#s.contact(ROMEO, JULIET)
    await world.#s.contact(JULIET, ROMEO)
    for (const one of world.#devices) one.forget()
    return world
  }

  async #joins (address: string): Promise<void> {
    const device = await this.#s.device(address)
    const reader = new SaxesParser({ xmlns: true, fragment: false })
    reader.on('error', error => { throw error })
    reader.write("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>")
    device.overhear(octets => { reader.write(fromOctets(octets)) })
    this.#devices.push(device)
    this.#came.set(device, [])
  }

  async play (step: Step): Promise<void> {
    const device = this.#devices[step.device]
    if (device === undefined || device.closed) return
    await device.says(this.#stanza(step, device))
    for (const one of this.#devices) await this.#reads(one)
  }

  /** Returns the stanza of a step, and notes the result that it has to have. */
  #stanza (step: Step, device: Device): string {
    const id = `s${++this.#count}`
    switch (step.kind) {
      case 'message': {
        const word = `word-${id}-end`
        const from = device.jid.bare.toString()
        this.#said.set(word, [from, step.to === undefined ? from : accountOf(step.to)])
        return `<message${attributesOf({ id, to: step.to, type: step.type })}><body>${word} ${escaped(step.text)}</body>${step.extra}</message>`
      }
      case 'iq':
        this.#asked.set(id, device)
        return `<iq${attributesOf({ id, to: step.to, type: step.type })}>${step.payload}</iq>`
      case 'presence': return `<presence${attributesOf({ id, type: step.type })}>${step.priority}</presence>`
      case 'ask': return `<presence${attributesOf({ id, type: step.type, to: step.to })}/>`
      case 'odd': return step.said
    }
  }

  /** Lets a device read what has arrived, and answer requests. */
  async #reads (device: Device): Promise<void> {
    for (const element of [...device.unread]) {
      device.forget(element)
      this.#came.get(device)?.push(element)
      const { id, from, type } = element.attrs
      if (element.name !== 'iq' || type !== 'get' && type !== 'set' || device.closed) continue
      await device.says(`<iq type='error'${attributesOf({ id: String(id), to: from === undefined ? undefined : String(from) })}><error type='cancel'>` +
        "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
    }
  }

  async end (): Promise<void> {
    for (let round = 0; round < 3; round++) {
      await this.#s.settled()
      for (const one of this.#devices) await this.#reads(one)
    }
    this.#checkAnswers()
    this.#checkPrivacy()
    const failed = this.#s.lines.find(({ level }) => level === 'error')
    if (failed !== undefined) throw new Error(`${failed.event}: ${String(failed.fields['error'])}`)
    await this.#s.end()
  }

  #checkAnswers (): void {
    for (const [id, device] of this.#asked) {
      if (device.closed) continue
      const answers = this.#came.get(device)?.filter(({ name, attrs }) => name === 'iq' && attrs['id'] === id && (attrs['type'] === 'result' || attrs['type'] === 'error')) ?? []
      if (answers.length !== 1) throw new Error(`${device.jid.toString()} got ${answers.length} answers to ${id}`)
    }
  }

  #checkPrivacy (): void {
    for (const [device, elements] of this.#came) {
      const me = device.jid.bare.toString()
      for (const element of elements) {
        for (const [word] of element.toString().matchAll(/word-s\d+-end/g)) {
          if (this.#said.get(word)?.includes(me) !== true) throw new Error(`${me} got a message between others: ${element.toString()}`)
        }
        const from = accountOf(String(element.attrs['from'] ?? ''))
        const { type } = element.attrs
        const isSeen = element.name === 'presence' && (type === undefined || type === 'unavailable')
        if (isSeen && from !== me && (from === TYBALT || me === TYBALT)) throw new Error(`${me} sees ${from}: ${element.toString()}`)
        if (childElements(element).length > 1000) throw new Error('an endless answer')
      }
    }
  }
}

export const router: Target = cases(
  'whatever several devices send: no defect, each request is answered once, nobody gets or sees what is not for them, and saxes reads it all',
  fc.array(step, { minLength: 5, maxLength: 40, size: 'max' }), async steps => {
    const world = await World.begin()
    for (const one of steps) await world.play(one)
    await world.end()
  })
