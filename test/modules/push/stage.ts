/** A phone that registered for push (XEP-0357), its app server, and a user who writes to it. */
import type { Test } from 'tap'
import { MemoryStorage } from '../../../lib/storage/memory.js'
import type { Element } from '../../../lib/xml/element.js'
import { parseJid } from '../../../lib/xmpp/jid.js'
import { scenario, type Device, type Scenario, type Scene } from '../../scenario.js'
import { ENABLE, SM } from '../../stanzas.js'

export const APP = 'push@app.lit/service'
export const JULIET = parseJid('juliet@capulet.lit')
export const MODULES = ['roster', 'presence', 'message', 'carbons', 'mam', 'offline', 'disco', 'stream-management', 'csi', 'push']
export const QUIET = { 'stream-management': { ackTimeout: '1h' } }
export const SECRET = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field><field var='secret'><value>eruio &amp; 234</value></field></x>"
const SUMMARY = { 'FORM_TYPE': 'urn:xmpp:push:summary', 'pending-subscription-count': '0' }
export const PUSHED = { ...SUMMARY, 'message-count': '1' }
export const counted = (messages: number): Record<string, string> => ({ ...SUMMARY, 'message-count': String(messages) })

export const enable = (attributes = `jid='${APP}' node='n'`, content = ''): string => `<iq type='set' id='e'><enable xmlns='urn:xmpp:push:0' ${attributes}>${content}</enable></iq>`
export const disable = (attributes: string): string => `<iq type='set' id='d' to='juliet@capulet.lit'><disable xmlns='urn:xmpp:push:0' ${attributes}/></iq>`
export const chat = (text: string, more = ''): string => `<message to='juliet@capulet.lit' type='chat'><body>${text}</body>${more}</message>`
export const toPhone = (content: string, type = 'chat'): string => `<message to='juliet@capulet.lit/phone' type='${type}'>${content}</message>`
export const PROPOSE = "<message to='juliet@capulet.lit' type='chat'><propose xmlns='urn:xmpp:jingle-message:0' id='c'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose><store xmlns='urn:xmpp:hints'/></message>"

interface Stage { readonly s: Scenario, readonly romeo: Device, readonly phone: Device, readonly app: App }
type Settings = Readonly<Record<string, unknown>>

interface Published {
  readonly id: string
  readonly node: string | undefined
  readonly form: Readonly<Record<string, string>>
  readonly element: Element
}

/** An app server, which is an account of its own. */
export class App {
  readonly device: Device
  readonly #host: string

  constructor (device: Device, host = 'capulet.lit') {
    this.device = device
    this.#host = host
  }

  /** Returns the next notification without answering it. */
  async hears (): Promise<Published> {
    const element = await this.device.gets(`<iq type='set' from='${this.#host}' to='${APP}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish><item><notification xmlns='urn:xmpp:push:0'/></item></publish></pubsub></iq>`)
    const publish = element.getChild('pubsub')?.getChild('publish')
    const fields = publish?.getChild('item')?.getChild('notification')?.getChild('x')?.getChildren('field') ?? []
    const form = Object.fromEntries(fields.map(field => [String(field.attrs['var']), field.getChildText('value') ?? '']))
    return { id: String(element.attrs['id']), node: publish?.attrs['node'] as string | undefined, form, element }
  }

  /** Answers the next notification and returns its form. */
  async takes (): Promise<Readonly<Record<string, string>>> {
    const { id, form } = await this.hears()
    await this.answers(id)
    return form
  }

  async answers (id: string): Promise<void> { await this.device.says(`<iq type='result' id='${id}' to='${this.#host}'/>`) }

  async refuses (id: string, condition: string, type = 'cancel'): Promise<void> {
    await this.device.says(`<iq type='error' id='${id}' to='${this.#host}'><error type='${type}'><${condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`)
  }

  async hearsNothing (): Promise<void> { await this.device.getsNothing() }
}

interface How { readonly push?: Settings, readonly modules?: Scene['modules'], readonly storage?: MemoryStorage, readonly settings?: Scene['settings'] }

/** Binds Romeo, Juliet's phone, which registers for push, and the app server of the phone. */
export async function stage (t: Test, how: How = {}): Promise<Stage> {
  const { push = {}, modules = MODULES, storage, settings = {} } = how
  const s = await scenario(t, {
    modules, settings: { ...QUIET, ...settings, push }, ...storage === undefined ? {} : { storage },
  })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const app = new App(await s.device(APP))
  const phone = await s.device('juliet@capulet.lit/phone')
  t.equal((await phone.asks(enable())).attrs['type'], 'result')
  return { s, romeo, phone, app }
}

/** As `stage`; then the phone loses its connection and its session ends. */
export async function away (t: Test, how: How = {}): Promise<Stage> {
  const all = await stage(t, how)
  await all.phone.loses('connection')
  return all
}

/** As `stage`, with stream management on the phone. */
export async function managed (t: Test, how: How = {}): Promise<Stage & { readonly id: string }> {
  const all = await stage(t, how)
  await all.phone.says(ENABLE)
  return { ...all, id: String((await all.phone.gets(`<enabled ${SM}/>`)).attrs['id']) }
}

export const counterOf = (s: Scenario, name: string): number => s.host('capulet.lit').counters.get(`push.${name}`) ?? 0
export const registered = async (s: Scenario): Promise<readonly Record<string, unknown>[]> =>
  await s.host('capulet.lit').commands.get('push')?.(['juliet@capulet.lit']) as readonly Record<string, unknown>[]
