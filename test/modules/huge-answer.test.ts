/**
 * XEP-0115 §5.4: a device that sends a hash is asked for the disco#info of that hash. Its answer may be as large as a
 * stanza.
 */
import { Buffer } from 'node:buffer'
import t from 'tap'
import { verificationOf } from '../../modules/caps/verification.js'
import { parseElement } from '../parse.js'

const field = (name: string, values: readonly string[]): string => `<field var='${name}'>${values.map(value => `<value>${value}</value>`).join('')}</field>`
const form = (fields: string): string =>
  `<query xmlns='http://jabber.org/protocol/disco#info'><x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>f</value></field>${fields}</x></query>`

t.test('form values and fields are sorted by their UTF-8 without a buffer for each comparison', t => {
  const values = Array.from({ length: 9000 }, (_, n) => String(n * 7919 % 9000))
  const info = parseElement(form(field('a', values)))
  const from = Buffer.from.bind(Buffer)
  let made = 0
  t.teardown(() => { Reflect.set(Buffer, 'from', from) })
  Reflect.set(Buffer, 'from', (...args: Parameters<typeof from>) => { made++; return from(...args) })
  t.type(verificationOf(info), 'string')
  Reflect.set(Buffer, 'from', from)
  t.ok(made < 20_000, `${made} buffers for 9,000 values`)
  const one = verificationOf(parseElement(form(field('a', ['\u{1f600}', '\uffee', 'é', 'z']) + field('\uffee', ['1']) + field('\u{1f600}', ['2']))))
  const other = verificationOf(parseElement(form(field('\u{1f600}', ['2']) + field('\uffee', ['1']) + field('a', ['z', 'é', '\uffee', '\u{1f600}']))))
  t.equal(one, other)
  t.equal(one, 'zuXRBIojKavOzolWxHv6MSHDLPQ=')
  t.end()
})
