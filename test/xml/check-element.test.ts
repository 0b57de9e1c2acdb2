/** The quick check of stored elements agrees with the parser. */
import fc from 'fast-check'
import t from 'tap'
import { checkElementText, parseElement } from '../../lib/xml/parse-element.js'

const SOUND = [
  '<a/>', '<a></a>', "<a b='1'/>", '<a b="1" c=\'2\' ><b/></a >', '<ab><a/></ab>', '<a>x &amp; y<b>z</b></a>', '<a><a><a/></a></a>',
  "<a xml:lang='de'>ü</a>", "<m xmlns='jabber:client'><x:y xmlns:x='u'/></m>", '<a>&#65;</a>',
]
const BROKEN = [
  '', 'a', '<a>', '</a>', '<a/><b/>', '<a></b>', '<a></ab>', '<ab></a>', '<a b=1/>', '<a>\0</a>', '<a>&x;</a>', '<a', '<a><b></a></b>',
  '<a>x', '<a></a', '<a b="<"/>', '<!-- --><a/>',
]

t.test('a sound element passes', async t => {
  for (const text of SOUND) {
    t.doesNotThrow(() => { checkElementText(text) }, text)
  }
})

t.test('a broken element is refused', async t => {
  for (const text of BROKEN) {
    t.throws(() => { checkElementText(text) }, text)
  }
})

t.test('the parser can read each element that passes', async t => {
  const piece = fc.constantFrom('<a>', '</a>', '<a/>', '<ab>', '</ab>', '<b c="d">', '</b>', "<b c='>'/>", 'x', '&lt;', '&', '<', '>', '/', ' ', '"', 'ü', '\n')
  let passed = 0
  fc.assert(fc.property(fc.array(piece, { maxLength: 12 }), pieces => {
    const text = `<a>${pieces.join('')}</a>`
    try { checkElementText(text) } catch { return }
    passed++
    parseElement(Buffer.from(text).toString('latin1'))
  }), { numRuns: 3000, seed: 7 })
  t.ok(passed > 50, `${passed} passed`)
})
