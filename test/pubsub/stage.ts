/** Requests to nodes, devices that are interested in nodes, and what they are told. */
import { attributeOf, childElements, namespaceOf, textOf, type Element } from '../../lib/xml/element.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { addressed, Stanza, type Addressed, type Kind } from '../../lib/xmpp/stanza.js'
import { verificationOf } from '../../modules/caps/verification.js'
import type { Device } from '../device.js'
import { elsewhere, foreigner } from '../elsewhere.js'
import { parseElement } from '../parse.js'
import type { Scenario } from '../scenario.js'

const PUBSUB = 'http://jabber.org/protocol/pubsub'
export const MODULES = ['presence', 'message', 'roster', 'disco', 'caps', 'pep']

/** Makes accounts that all see each other's presence. */
export async function friends (s: Scenario, ...addresses: readonly string[]): Promise<void> {
  for (const address of addresses) await s.account(address)
  for (const account of addresses) {
    for (const contact of addresses) if (account !== contact) await s.contact(account, contact)
  }
}

let asked = 0

/** Sends `<pubsub/>` and returns the reply. `to`: another address than the device's own account. */
export async function pubsub (
  device: Device, type: 'get' | 'set', content: string, how: { readonly to?: string, readonly owner?: boolean } = {},
): Promise<Element> {
  const to = how.to === undefined ? '' : ` to='${how.to}'`
  const namespace = how.owner === true ? `${PUBSUB}#owner` : PUBSUB
  return await device.asks(`<iq type='${type}' id='p${++asked}'${to}><pubsub xmlns='${namespace}'>${content}</pubsub></iq>`)
}

/** Returns a form as it is submitted. `type`: node_config, publish-options and so on. */
export function form (type: string, fields: Readonly<Record<string, string | readonly string[]>>): string {
  const all = Object.entries(fields).map(([name, value]) => {
    const values = typeof value === 'string' ? [value] : value
    return `<field var='pubsub#${name}'>${values.map(one => `<value>${one}</value>`).join('')}</field>`
  })
  return `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>${PUBSUB}#${type}</value></field>${all.join('')}</x>`
}

/** Returns publish-options with these fields. */
export function options (fields: Readonly<Record<string, string | readonly string[]>>): string {
  return `<publish-options>${form('publish-options', fields)}</publish-options>`
}

/** Returns `<publish/>` with items of a payload in a namespace of tests. */
export function publishing (node: string, ...ids: readonly string[]): string {
  return `<publish node='${node}'>${ids.map(id => `<item id='${id}'><t xmlns='urn:t'>${id}</t></item>`).join('')}</publish>`
}

/** Publishes items, and throws if that fails. */
export async function publishes (device: Device, node: string, ids: readonly string[], more = ''): Promise<void> {
  const reply = await pubsub(device, 'set', publishing(node, ...ids) + more)
  if (reply.attrs['type'] !== 'result') throw new Error(reply.toString())
}

/** Returns what a reply says: 'result', or the type of the error with its conditions. */
export function outcome (reply: Element): string {
  const error = childElements(reply).find(child => child.getName() === 'error')
  if (error === undefined) return String(reply.attrs['type'])
  const conditions = childElements(error).filter(one => one.getName() !== 'text')
  return [error.attrs['type'], ...conditions.map(one => one.attrs['feature'] === undefined ? one.getName() : `${one.getName()}:${one.attrs['feature']}`)].join(' ')
}

/** Returns the ids of the items in a reply. */
export function itemIds (reply: Element): readonly string[] {
  const items = childElements(childElements(reply)[0] ?? reply).find(child => child.getName() === 'items')
  return items === undefined ? [] : childElements(items).map(item => String(item.attrs['id']))
}

/** Returns the values of the fields of a form in a reply, by name. */
export function valuesIn (reply: Element): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, readonly string[]>()
  const visit = (element: Element): void => {
    if (element.getName() === 'field') {
      const values = childElements(element).filter(one => one.getName() === 'value').map(textOf)
      found.set(String(element.attrs['var']).replace('pubsub#', ''), values)
    } else childElements(element).forEach(visit)
  }
  visit(reply)
  return found
}

// ---- Interest ---------------------------------------------------------------------------------------------------

/** Returns the disco#info of a client that wants notifications of these nodes. */
function infoOf (nodes: readonly string[]): string {
  const features = nodes.map(node => `<feature var='${node}+notify'/>`).join('')
  return `<query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' type='pc' name='T'/><feature var='urn:t:client'/>${features}</query>`
}

/** Returns the caps of such a client. */
export function capsOf (nodes: readonly string[]): string {
  const ver = verificationOf(parseElement(infoOf(nodes))) ?? ''
  return `<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:t:client' ver='${ver}'/>`
}

/** Returns the replies to the queries for caps among these stanzas. */
export function capsReplies (stanzas: readonly Element[], nodes: readonly string[]): readonly string[] {
  return stanzas.filter(isCapsQuery).map(query =>
    `<iq type='result' id='${query.attrs['id']}' to='${query.attrs['from']}'>${infoOf(nodes).replace('<query ', `<query node='${childElements(query)[0]?.attrs['node']}' `)}</iq>`)
}

function isCapsQuery (stanza: Element): boolean {
  const [query] = childElements(stanza)
  return stanza.name === 'iq' && stanza.attrs['type'] === 'get' && query !== undefined &&
    namespaceOf(query) === 'http://jabber.org/protocol/disco#info'
}

/** Sends presence with an interest in these nodes, and answers the server's queries for caps. */
export async function declares (device: Device, nodes: readonly string[], more = ''): Promise<void> {
  await device.says(`<presence>${more}${capsOf(nodes)}</presence>`)
  const replies = capsReplies(device.unread, nodes)
  if (replies.length > 0) await device.says(...replies)
}

/** Binds a device that is interested in these nodes. What it is told on its arrival is not read yet. */
export async function interested (s: Scenario, address: string, nodes: readonly string[]): Promise<Device> {
  const device = await s.device(address, { presence: false })
  await declares(device, nodes)
  return device
}

// ---- Notifications ------------------------------------------------------------------------------------------------

/** Returns what the messages of nodes among these stanzas say, one line for each. */
export function told (stanzas: readonly Element[]): readonly string[] {
  return stanzas.filter(stanza => stanza.name === 'message').flatMap(message => {
    const event = childElements(message).find(child => namespaceOf(child) === `${PUBSUB}#event`)
    const what = event === undefined ? undefined : childElements(event)[0]
    if (what === undefined) return []
    const delayed = childElements(message).some(child => child.getName() === 'delay') ? ' (delayed)' : ''
    const inside = childElements(what).filter(one => ['item', 'retract'].includes(one.getName()))
      .map(one => `${one.getName()} ${one.attrs['id']}${childElements(one).length > 0 ? ' with payload' : ''}`)
    const state = what.attrs['subscription'] === undefined ? [] : [String(what.attrs['subscription'])]
    return [`${message.attrs['from']} ${message.attrs['type'] ?? 'normal'}: ${[what.getName(), what.attrs['node'], ...inside, ...state].join(' ')}${delayed}`]
  })
}

/** Returns what a device was told of nodes since the last call. */
export function hears (device: Device): readonly string[] {
  const found = told(device.unread)
  device.forget()
  return found
}

// ---- Other servers ------------------------------------------------------------------------------------------------

/** Another server. */
export interface Abroad { readonly heard: Element[], says (stanza: string): Promise<void> }

/** Another server: what it hears, and a way to send it stanzas. */
export function abroad (s: Scenario): Abroad {
  const heard: Element[] = []
  s.server.router.remote = elsewhere((stanza: Addressed) => { heard.push(stanza.toElement()) })
  const arrives = foreigner(s.server)
  return {
    heard,
    async says (text) {
      const element = parseElement(text)
      const to = parseJid(attributeOf(element, 'to') ?? '')
      const stanza = new Stanza(element.getName() as Kind, element, parseJid(attributeOf(element, 'from') ?? ''), to)
      await arrives(addressed(stanza, to))
      await s.settled()
    },
  }
}

/** Returns what the other server was told since the last call. */
export function heardAbroad ({ heard }: Abroad): readonly string[] {
  const found = heard.filter(({ name }) => name === 'message').map(message => `${attributeOf(message, 'to')} ${told([message])[0]}`)
  heard.length = 0
  return found
}
