/** The stage of scenes about rooms: the service, and short ways to write and read stanzas of XEP-0045. */
import type { Test } from 'tap'
import { textOf, type Element } from '../../lib/xml/element.js'
import { scenario, type Device, type Scenario, type Scene } from '../scenario.js'
import { conditionOf } from '../stanzas.js'

export const SERVICE = 'chat.capulet.lit'
export const HALL = `hall@${SERVICE}`
export const SCENE: Scene = {
  modules: ['presence', 'roster', 'message', 'disco'], services: { [SERVICE]: ['muc', 'mam', 'disco', 'ping'] },
}

export const USER = 'http://jabber.org/protocol/muc#user'
export const ADMIN = "xmlns='http://jabber.org/protocol/muc#admin'"
export const OWNER = "xmlns='http://jabber.org/protocol/muc#owner'"

export const says = (body: string, more = '', room = HALL): string =>
  `<message to='${room}' type='groupchat' id='${body}'><body>${body}</body>${more}</message>`
export const subject = (text: string, more = ''): string => `<message to='${HALL}' type='groupchat'><subject>${text}</subject>${more}</message>`
export const asking = (payload: string, type: 'get' | 'set' = 'set', to = HALL): string => `<iq to='${to}' type='${type}' id='a'>${payload}</iq>`
export const entering = (nick: string, inside = '', room = HALL): string =>
  `<presence to='${room}/${nick}'><x xmlns='http://jabber.org/protocol/muc'>${inside}</x></presence>`
export const field = (name: string, ...values: readonly string[]): string =>
  `<field var='${name}'>${values.map(value => `<value>${value}</value>`).join('')}</field>`
/** A submitted form of the room's configuration; the names are without `muc#roomconfig_`. */
export const configuring = (fields: Readonly<Record<string, string | readonly string[]>> = {}): string =>
  asking(`<query ${OWNER}><x xmlns='jabber:x:data' type='submit'>${Object.keys(fields).length === 0 ? '' : field('FORM_TYPE', 'http://jabber.org/protocol/muc#roomconfig')}${
    Object.entries(fields).map(([name, value]) => field(name.includes('#') || name === 'public_list' ? name : `muc#roomconfig_${name}`, ...typeof value === 'string' ? [value] : value)).join('')}</x></query>`)
export const changing = (...items: readonly string[]): string => asking(`<query ${ADMIN}>${items.join('')}</query>`)
export const listing = (item: string): string => asking(`<query ${ADMIN}>${item}</query>`, 'get')

/** Starts the service. */
export async function stage (t: Test, more: Scene = {}): Promise<Scenario> {
  return await scenario(t, { ...SCENE, ...more })
}

/** Juliet's room, configured so, with juliet in it. Nothing is unread. */
export async function hall (
  s: Scenario, fields: Readonly<Record<string, string | readonly string[]>> = {},
): Promise<Device> {
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await juliet.says(entering('juliet'))
  const answer = await juliet.asks(configuring(fields))
  if (answer.attrs['type'] !== 'result') throw new Error(`not configured: ${String(answer)}`)
  juliet.forget()
  return juliet
}

/** Somebody who enters the hall. Nothing is unread, but of the others. */
export async function guest (
  s: Scenario, address: string, nick = address.slice(0, address.indexOf('@')), inside = '',
): Promise<Device> {
  const device = await s.device(address)
  await device.says(entering(nick, inside))
  device.forget()
  return device
}

/** Returns `<x/>` of the room in a stanza. */
export const userIn = (element: Element | undefined): Element | undefined => element?.getChild('x', USER)
export const itemIn = (element: Element | undefined): Readonly<Record<string, unknown>> => userIn(element)?.getChild('item')?.attrs ?? {}
export const codesIn = (element: Element | undefined): readonly string[] =>
  (userIn(element)?.getChildren('status') ?? []).map(({ attrs }) => String(attrs['code']))

/** Puts the stanzas in few words: for presence the nick, its type, role, affiliation, and codes. */
export function told (heard: readonly Element[]): readonly string[] {
  return heard.map(element => {
    const from = String(element.attrs['from'])
    const nick = from.includes('/') ? from.slice(from.indexOf('/') + 1) : '(room)'
    const codes = codesIn(element).join(',')
    const error = conditionOf(element)
    if (error !== undefined) return `${element.name} error ${error}`
    if (element.name === 'presence') {
      const { role, affiliation } = itemIn(element)
      return [nick, ...element.attrs['type'] === undefined ? [] : [element.attrs['type']], `${String(affiliation)}/${String(role)}`, ...codes === '' ? [] : [codes]].join(' ')
    }
    const body = element.getChild('body')
    const text = body ?? element.getChild('subject')
    const late = element.getChild('delay') === undefined ? '' : ' (delayed)'
    return `${nick} ${body === undefined ? text === undefined ? element.name : 'subject' : 'says'} ${text === undefined ? codes : textOf(text)}${late}`.trim()
  })
}

/** The rows of a list that an admin has asked for. */
export function itemsOf (answer: Element): readonly Readonly<Record<string, string>>[] {
  return (answer.getChild('query')?.getChildren('item') ?? []).map(({ attrs }) => attrs)
}
