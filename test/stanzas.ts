/** Stanzas in tests: how tests write them, and what a device got. */
import { childElements, type Element } from '../lib/xml/element.js'
import type { Device } from './device.js'

/** The namespace of stream management (XEP-0198), as an attribute. */
export const SM = "xmlns='urn:xmpp:sm:3'"
/** Enables stream management, with resumption. */
export const ENABLE = `<enable ${SM} resume='true'/>`

/** Enables carbons (XEP-0280). */
export const CARBONS = "<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>"
/** Queries the own archive (XEP-0313), without a filter. */
export const QUERY = "<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>"
/** Client state indication (XEP-0352). */
export const ACTIVE = "<active xmlns='urn:xmpp:csi:0'/>"
export const INACTIVE = "<inactive xmlns='urn:xmpp:csi:0'/>"

/** The condition of a stanza error; undefined if there is no error. */
export function conditionOf (stanza: Element | undefined): string | undefined {
  const error = stanza === undefined ? undefined : childElements(stanza).find(child => child.getName() === 'error')
  return error === undefined ? undefined : childElements(error)[0]?.getName()
}

/** The bodies of the messages that a device has not read, in order. Carbons and archived messages do not count. */
export function bodies (device: Device): string[] {
  return device.unread.flatMap(element => element.getChildText('body') ?? [])
}

/** The bodies of the archived messages that a device got and has not read, in order. */
export function archivedBodies (device: Device): string[] {
  return device.unread.flatMap(element => {
    const message = element.getChild('result')?.getChild('forwarded')?.getChild('message')
    return message?.getChildText('body') ?? []
  })
}
