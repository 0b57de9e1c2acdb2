/** A couple of which one device is managed (XEP-0198), and what its tests say and read. */
import type { Test } from 'tap'
import type { Element } from '../../../lib/xml/element.js'
import { scenario, type Device, type Scenario } from '../../scenario.js'
import { couple, type Couple } from '../../couple.js'
import { enable } from '../../managed.js'
import { SM } from '../../stanzas.js'

export const MODULES = ['presence', 'message', 'carbons', 'offline', 'ping', 'stream-management']
export const body = (text: string): string => `<message><body>${text}</body></message>`
export const toJuliet = (text: string, more = ''): string => `<message to='juliet@capulet.lit' type='chat'><body>${text}</body>${more}</message>`
export const a = (h: number): string => `<a ${SM} h='${h}'/>`
export const r = `<r ${SM}/>`

export async function stage (
  t: Test, settings: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {},
): Promise<Scenario> {
  return await scenario(t, { modules: MODULES, settings: { ping: { initialInterval: '1d' }, ...settings } })
}

export async function managedCouple (s: Scenario): Promise<Couple & { readonly id: string }> {
  const { romeo, juliet } = await couple(s)
  return { romeo, juliet, id: await enable(juliet) }
}

export async function resume (s: Scenario, id: string, h: number, who = 'juliet@capulet.lit'): Promise<{ readonly device?: Device, readonly answer: Element }> {
  return await s.resume(who, `<resume ${SM} previd='${id}' h='${h}'/>`)
}

export async function resumed (s: Scenario, id: string, h: number, has?: number, who?: string): Promise<Device> {
  const { device, answer } = await resume(s, id, h, who)
  if (device === undefined) throw new Error(`not resumed: ${answer.toString()}`)
  if (has !== undefined && answer.attrs['h'] !== String(has)) throw new Error(`resumed with ${answer.toString()}, not ${has}`)
  return device
}

/** The bodies that a device got, in order, those of carbons included. */
export const bodies = (device: Device): string[] => device.unread.flatMap(element => {
  const carbon = element.getChild('received') ?? element.getChild('sent')
  const message = carbon?.getChild('forwarded')?.getChild('message') ?? element
  const text = message.getChildText('body')
  return text === null ? [] : [text]
})
