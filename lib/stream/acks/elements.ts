/** The elements of XEP-0198. */
import { attributeOf, xml, type Element } from '../../xml/element.js'
import { NS } from '../../xml/namespaces.js'
import { StreamError, type StanzaCondition } from '../../xmpp/errors.js'
import { counted, WRAP } from './counters.js'

/** Returns the `h` of `<a/>`, `<resume/>` or `<resumed/>`; undefined if it is missing or not a count. */
export function countIn (element: Element): number | undefined {
  const text = attributeOf(element, 'h')?.trim()
  if (text === undefined || !/^\+?\d{1,32}$/.test(text)) return undefined
  const count = Number(text)
  return count < WRAP ? count : undefined
}

/** Reads an xs:boolean attribute; false if it is missing. */
export function isTrue (element: Element, name: string): boolean {
  const text = attributeOf(element, name)?.trim()
  return text === 'true' || text === '1'
}

/** Returns the seconds in `<enable max=''/>`; undefined if there are none. */
export function secondsIn (element: Element): number | undefined {
  const text = attributeOf(element, 'max')?.trim()
  return text !== undefined && /^\+?\d{1,32}$/.test(text) && Number(text) > 0 ? Number(text) : undefined
}

/** `<r/>` as octets. */
export const REQUEST = `<r xmlns="${NS.SM}"/>`
/** Returns `<a/>` as octets. */
export function answer (h: number): string { return `<a xmlns="${NS.SM}" h="${counted(h, 0)}"/>` }

/** §5, §6: returns `<failed/>` with a condition. `h`: the count of the former stream, if that is still known. */
export function failed (condition: StanzaCondition, h?: number): Element {
  return xml('failed', { xmlns: NS.SM, h: h === undefined ? undefined : counted(h, 0) }, xml(condition, { xmlns: NS.STANZAS }))
}

/**
 * §6: returns the error for a peer that acknowledged what was never sent. The counts differ, so the stream must end.
 */
export function tooHigh (h: number, sent: number): StreamError {
  return new StreamError('undefined-condition', `You acknowledged ${h} stanzas, but I only sent you ${sent} so far.`, {
    plus: xml('handled-count-too-high', { xmlns: NS.SM, h, 'send-count': sent }),
  })
}

/** §3: returns `<enabled/>`. `resumable`: the id by which the stream can be resumed, and for how many milliseconds. */
export function enabled (resumable?: { readonly id: string, readonly time: number }): Element {
  const how = resumable === undefined ? {} : { id: resumable.id, resume: 'true', max: resumable.time / 1000 }
  return xml('enabled', { xmlns: NS.SM, ...how })
}

/** §5: returns `<resumed/>` for the stream with this id. `h`: the number of stanzas handled on it. */
export function resumed (id: string, h: number): Element {
  return xml('resumed', { xmlns: NS.SM, previd: id, h: counted(h, 0) })
}
