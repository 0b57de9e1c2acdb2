/** Addresses, data forms and paging: a stranger's text is read as a value, or refused with the right error. */
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { DataForm, field, readForm } from '../../lib/xmpp/form.js'
import { StanzaError } from '../../lib/xmpp/errors.js'
import { JidError, jidOf, parseJid } from '../../lib/xmpp/jid.js'
import { pagingElement, pagingRequest, readPage, readPaging } from '../../lib/xmpp/paging.js'
import type { Element } from '../../lib/xml/element.js'
import { fromOctets, octets } from '../../lib/xml/writer.js'
import { parseElement } from '../parse.js'
import { allowing, cases, escaped, text } from './target.js'

export const jid = cases('an address is refused with a JidError, or parses to itself', fc.tuple(text, text, text), ([a, b, c]) => {
  for (const given of [a, a + b, `${a}@${b}/${c}`, `${a}@${b}`, `${b}/${c}`]) {
    const parsed = allowing(JidError, () => parseJid(given))
    if (parsed !== undefined && !parseJid(parsed.toString()).equals(parsed)) throw new Error(`${parsed.toString()} parses to another address`)
  }
  const made = allowing(JidError, () => jidOf(a, b, c))
  if (made !== undefined && parseJid(made.toString()).toString() !== made.toString()) throw new Error(`${made.toString()} parses to another address`)
})

const TYPES = ['form', 'submit', 'cancel', 'result', 'x', ''] as const
const FIELDS = ['text-single', 'list-multi', 'boolean', 'hidden', 'fixed', 'jid-single', 'x', ''] as const
const rawField = fc.record({ name: fc.oneof(fc.constantFrom('FORM_TYPE', 'a', 'b', '__proto__'), text), type: fc.constantFrom(...FIELDS), values: fc.array(text, { maxLength: 4 }) })
const [A, B, C, D, E] = [field.text('a'), field.flag('b', { label: 'B' }), field.texts('c'), field.jid('d'), field.jids('e')] as const
const form = new DataForm('urn:fuzz', [A, B, C, D, E])

export const forms = cases('a data form is refused with a StanzaError, or is read, and its answers are values that fit',
  fc.record({ type: fc.constantFrom(...TYPES), fields: fc.array(rawField, { maxLength: 6 }), more: text }),
  ({ type, fields, more }) => {
    const inner = fields.map(({ name, type, values }) => `<field var='${escaped(name)}' type='${type}'>` +
      values.map(value => `<value>${escaped(value)}</value>`).join('') + '</field>').join('')
    const element = parseElement(`<x xmlns='jabber:x:data' type='${type}'>${inner}${escaped(more)}</x>`)
    allowing(StanzaError, () => readForm(element))
    allowing(StanzaError, () => {
      const answers = form.read(element)
      for (const one of [A, B, C, D, E]) allowing(StanzaError, () => answers.has(one))
    })
  })

const part = fc.record({ name: fc.constantFrom('max', 'after', 'before', 'index', 'first', 'last', 'count', 'x'), value: fc.oneof(text, fc.nat().map(String)) })

/** Returns the element as it arrives over a stream. */
function sent (element: Element): Element { return parseElement(`<query xmlns='urn:q'>${fromOctets(octets(element, 'urn:q'))}</query>`) }

export const paging = cases('a page is refused with a StanzaError, or is read; a page that was written is read unchanged', fc.record({
  parts: fc.array(part, { maxLength: 5 }), sets: fc.nat(2), after: text, max: fc.nat(),
}), ({ parts, sets, after, max }) => {
  const inner = parts.map(({ name, value }) => `<${name}>${escaped(value)}</${name}>`).join('')
  const query = parseElement(`<query xmlns='urn:q'>${`<set xmlns='http://jabber.org/protocol/rsm'>${inner}</set>`.repeat(sets)}</query>`)
  allowing(StanzaError, () => readPaging(query))
  allowing(StanzaError, () => readPage(query))
  const id = after.replace(/[\0-\x1f\ufffe\uffff]|\p{Cs}/gu, '')
  const asked = readPaging(sent(pagingRequest({ max, after: id })))
  if (asked?.max !== max || (asked.after ?? '') !== id) throw new Error(`asked ${JSON.stringify({ max, id })}, read ${JSON.stringify(asked)}`)
  const page = readPage(sent(pagingElement({ first: id, last: id, index: max, count: max })))
  if (!isDeepStrictEqual(page, { first: id, last: id, index: max, count: max })) throw new Error(`the page was read as ${JSON.stringify(page)}`)
})
