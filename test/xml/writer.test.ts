/** A written element reads back unchanged, wherever it is put; text that XML cannot carry is refused. */
import t from 'tap'
import fc from 'fast-check'
import { child, childElements, children, clone, Element, has, localName, namespaceOf, ParsedElement, textOf, xml, type Child } from '../../lib/xml/element.js'
import { escapeAttribute, escapeText, flatten, fromOctets, octets, shortened, startTag, toOctets } from '../../lib/xml/writer.js'
import { parseElement } from '../../lib/xml/parse-element.js'
import { isContentNamespace, NS } from '../../lib/xml/namespaces.js'
import { HEADER, LIMITS, parse } from './reading.js'

function only (element: Element): Element {
  return childElements(element)[0] as Element
}

/** Reads a stanza on a stream whose root binds the prefix p as well. */
function stanza (text: string, contentNamespace: string = NS.CLIENT): ParsedElement {
  const header = HEADER.replace(NS.CLIENT, contentNamespace).replace(" to='a'", " xmlns:p='urn:p'")
  return parse([Buffer.from(header + text)], LIMITS, contentNamespace).elements[0] as ParsedElement
}

/** Returns names, namespaces, attributes and texts in a form to compare, without prefixes and declarations. */
function meaning (element: Element): unknown {
  const texts: unknown[] = []
  for (const node of element.children) {
    if (typeof node !== 'string') texts.push(meaning(node))
    else if (typeof texts.at(-1) === 'string') texts.push(`${texts.pop()}${node}`)
    else if (node !== '') texts.push(node)
  }
  const attributes = Object.entries(element.attrs).filter(([key]) => key !== 'xmlns' && !key.startsWith('xmlns:')).map(([key, value]) => [key, String(value)])
  const namespace = namespaceOf(element) ?? ''
  return [localName(element), isContentNamespace(namespace) ? NS.CLIENT : namespace, attributes.sort(), texts]
}

const character = fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }).filter(text => /^[\t\n\r\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]$/u.test(text))
const text = fc.array(fc.oneof(character, fc.constantFrom('<', '>', '&', '"', "'", '\r', '\n', '\t', ']]>', '&amp;', '😀', '\u0085', '\u2028', '\ufeff', ' ')))
  .map(parts => parts.join(''))
const name = fc.constantFrom('a', 'body', 'x-1', '_', 'é', '日本', 'toString', '__proto__', 'constructor', 'A.b')
const namespace = fc.constantFrom(undefined, undefined, '', 'urn:x', 'urn:y', 'ü & <"\'', NS.CLIENT, NS.SERVER)
const prefix = fc.constantFrom(undefined, undefined, 'p', 'q', '__proto__')

interface Drawn {
  readonly name: string
  readonly namespace: string | undefined
  readonly prefix: string | undefined
  readonly attributes: [string, string][]
  readonly nodes: (Drawn | string)[]
}
const { drawn } = fc.letrec<{ drawn: Drawn }>(tie => ({
  drawn: fc.record({
    name,
    namespace,
    prefix,
    attributes: fc.uniqueArray(fc.tuple(name, text), { selector: ([key]) => key, maxLength: 3 }),
    nodes: fc.array(fc.oneof({ depthSize: 'small', withCrossShrink: true }, text, tie('drawn')), { maxLength: 4 }),
  }),
}))

function built (from: Drawn): Element {
  const uri = from.namespace ?? 'urn:p'
  const element = new Element(from.prefix === undefined || uri === '' ? from.name : `${from.prefix}:${from.name}`)
  const set = (key: string, value: string): void => {
    Object.defineProperty(element.attrs, key, { value, enumerable: true, configurable: true, writable: true })
  }
  if (element.name.includes(':')) {
    set(`xmlns:${from.prefix}`, uri)
    set(`${from.prefix}:own`, 'yes')
  } else if (from.namespace !== undefined) set('xmlns', from.namespace)
  for (const [key, value] of from.attributes) set(key, value)
  for (const node of from.nodes) element.cnode(typeof node === 'string' ? node : built(node))
  return element
}

t.test('a written element reads back unchanged', async t => {
  fc.assert(fc.property(drawn, from => {
    const element = xml('message', {}, built(from))
    return JSON.stringify(meaning(parseElement(octets(element)))) === JSON.stringify(meaning(element))
  }), { numRuns: 300, seed: 42 })
  t.pass()
})

t.test('a parsed element is written so that it reads the same: whole, in part, copied, and inside another one', async t => {
  fc.assert(fc.property(drawn, from => {
    const element = only(parseElement(octets(xml('message', {}, built(from)))))
    const wanted = JSON.stringify(meaning(element))
    const again = (other: Element): string => JSON.stringify(meaning(only(parseElement(`<message>${octets(other)}</message>`))))
    const shell = new Element('forwarded', { xmlns: NS.FORWARD })
    shell.children.push(element)
    const inside = only(parseElement(octets(shell)))
    const parts = childElements(element).map(node => [JSON.stringify(meaning(node)), again(node), again(clone(node))])
    return again(element) === wanted && again(clone(element)) === wanted &&
      JSON.stringify(meaning(inside)) === wanted &&
      parts.every(([one, two, three]) => one === two && one === three)
  }), { numRuns: 300, seed: 43 })
  t.pass()
})

t.test('namespaces are declared where they change, and nowhere else', async t => {
  t.equal(octets(xml('message', { to: 'a' }, xml('body', {}, 'hi'))), '<message to="a"><body>hi</body></message>')
  t.equal(octets(xml('message', { xmlns: NS.CLIENT }, xml('body', { xmlns: NS.CLIENT }))), '<message><body/></message>')
  t.equal(octets(xml('message', {}), ''), '<message xmlns="jabber:client"/>')
  t.equal(octets(xml('a', { xmlns: 'u' }, xml('b'), xml('c', { xmlns: '' }, xml('d')))), '<a xmlns="u"><b/><c xmlns=""><d/></c></a>')
  t.equal(octets(stanza("<message><x xmlns='u'><y/></x><p:z/></message>")), '<message xmlns:p="urn:p"><x xmlns="u"><y/></x><p:z/></message>')
  t.equal(octets(only(stanza("<message><x xmlns='u'><y/></x></message>"))), '<x xmlns="u"><y/></x>')
  t.equal(octets(xml('a', {}, 5)), '<a>5</a>')
  t.equal(octets(only(only(stanza("<message><x xmlns='u'><y/></x></message>")))), '<y xmlns="u"/>')
  t.equal(octets(stanza('<message><body>hi</body></message>', NS.SERVER)), '<message><body>hi</body></message>', 'the content namespace is that of any stream')
  t.equal(octets(stanza('<stream:features><a/></stream:features>')).replace(/ xmlns:stream="[^"]+"/, ''), '<stream:features><a xmlns="jabber:client"/></stream:features>')
  t.equal(octets(xml('stream:features')), '<stream:features/>', 'the prefix of the stream is bound by the stream')
})

t.test('an element taken out of its parent declares the prefixes that it uses', async t => {
  const element = stanza("<message xmlns:q='urn:q'><x xmlns='u' q:a='1' p:b='2'><q:y xmlns='v'><z/></q:y></x></message>")
  const x = only(element)
  t.equal(octets(x), '<x xmlns="u" q:a="1" p:b="2" xmlns:q="urn:q" xmlns:p="urn:p"><q:y xmlns="v"><z/></q:y></x>')
  t.equal(octets(only(x)), '<q:y xmlns="v" xmlns:q="urn:q"><z/></q:y>')
  const plain = xml('a', { 'xmlns:q': 'urn:q', 'xmlns:r': 'urn:r' }, xml('b', { 'q:c': '1' }))
  t.equal(octets(only(plain)), '<b q:c="1" xmlns:q="urn:q"/>')
  t.equal(octets(clone(only(plain))), '<b q:c="1" xmlns:q="urn:q" xmlns:r="urn:r"/>')
  t.equal(octets(xml('q:a', { 'xmlns:q': 'urn:q', 'xml:lang': 'en', 'xmlns:xml': NS.XML })), '<q:a xmlns:q="urn:q" xml:lang="en"/>')
})

t.test('a child that belongs to another element keeps its namespace wherever it is put', async t => {
  const original = xml('query', { xmlns: 'u' }, xml('item'))
  const other = new Element('query', { xmlns: 'v' })
  other.children.push(only(original))
  t.equal(octets(other), '<query xmlns="v"><item xmlns="u"/></query>')
  const orphan = new Element('query', { xmlns: 'v' })
  orphan.children.push(new Element('item'))
  t.equal(octets(orphan), '<query xmlns="v"><item/></query>')
})

t.test('text and names that XML cannot carry are refused', async t => {
  const wrong: Readonly<Record<string, () => Element>> = {
    'a control in text': () => xml('a', {}, '\x01'),
    'NUL in a value': () => xml('a', { b: '\0' }),
    'half of a pair': () => xml('a', {}, '\ud83d'),
    'the other half': () => xml('a', { b: 'x\udc00y' }),
    'U+FFFE': () => xml('a', {}, '\ufffe'),
    'U+FFFF': () => xml('a', { b: '\uffff' }),
    'a control in a namespace': () => xml('a', { xmlns: '\x0c' }),
    'an empty name': () => xml(''),
    'a name with space': () => xml('a b'),
    'a name that closes': () => xml('a><b'),
    'a name of two colons': () => xml('a:b:c'),
    'an attribute that closes': () => xml('a', { 'b="c"><d e': '1' }),
    'an attribute that begins with a digit': () => xml('a', { 1: '1' }),
    'an undeclared prefix': () => xml('p:a'),
    'an undeclared prefix of an attribute': () => xml('a', { 'p:b': '1' }),
    'a prefix bound to nothing': () => xml('a', { 'xmlns:p': '' }),
    'the prefix xmlns': () => xml('a', { 'xmlns:xmlns': 'u' }),
    'the prefix xml for another': () => xml('a', { 'xmlns:xml': 'u' }),
    'another prefix for xml': () => xml('a', { 'xmlns:p': NS.XML }),
    'xml as the default': () => xml('a', { xmlns: NS.XML }),
    'one attribute by two prefixes': () => xml('a', { 'xmlns:p': 'u', 'xmlns:q': 'u', 'p:b': '1', 'q:b': '2' }),
    'a prefix that means two things': () => new ParsedElement('p:a', { 'xmlns:p': 'v' }, null, 'u'),
    'a child that is wrong': () => xml('a', {}, xml('b', {}, '\x02')),
  }
  for (const [what, make] of Object.entries(wrong)) t.throws(() => octets(make()), TypeError, what)
  t.throws(() => startTag('a', { b: '\x01' }), TypeError)
  t.throws(() => startTag('a b', {}), TypeError)
  t.throws(() => escapeText('a\x00'), TypeError)
})

t.test('text and values are escaped', async t => {
  t.equal(escapeText('plain'), 'plain')
  t.equal(escapeText('<a>&]]>\r\n\t"\''), '&lt;a&gt;&amp;]]&gt;&#13;\n\t"\'')
  t.equal(escapeAttribute('<a>&"\'\r\n\t'), '&lt;a&gt;&amp;&quot;&apos;&#13;&#10;&#9;')
  t.equal(escapeText('é😀\x7f'), 'é😀\x7f')
  t.equal(startTag('stream:stream', { to: "o'neil", n: 1, from: undefined, id: null }), '<stream:stream to="o&apos;neil" n="1">')
  t.equal(octets(xml('é', { ü: '😀' }, 'ж')), toOctets('<é ü="😀">ж</é>'))
})

t.test('the cache of names is bounded', async t => {
  for (let i = 0; i < 5000; i++) octets(new Element(`n${i}`))
  t.equal(octets(new Element('n4999')), '<n4999/>')
  t.throws(() => octets(new Element('n 4999')), TypeError)
})

t.test('octets are UTF-8, one character a byte, and can be turned back', async t => {
  t.equal(toOctets('é'), '\xc3\xa9')
  fc.assert(fc.property(fc.string({ unit: 'grapheme' }), text => fromOctets(toOctets(text)) === text && /^[\0-\xff]*$/.test(toOctets(text))), { seed: 44 })
  fc.assert(fc.property(fc.string({ unit: 'binary' }), text => flatten(text) === text), { seed: 45 })
  fc.assert(fc.property(fc.string({ unit: 'grapheme' }), fc.nat(20), (text, most) => {
    const short = shortened(text, most)
    return text.startsWith(short) && short.length <= most && short.length >= Math.min(text.length, most - 1) && !/[\ud800-\udbff]$/.test(short)
  }), { seed: 42 })
  t.equal(shortened('ab😀', 3), 'ab', 'half of a character is left out')
  t.equal(flatten('a long text of more than thirteen'), 'a long text of more than thirteen')
  t.equal(flatten('ein langer Text – mit Strich'), 'ein langer Text – mit Strich')
})

t.test('children are found by namespace, and never by name alone', async t => {
  const element = stanza("<message><body>a</body><body xmlns='u'>b</body><p:body>c</p:body>text<x xmlns='u'/></message>")
  t.equal(textOf(child(element, NS.CLIENT, 'body') as Element), 'a')
  t.equal(textOf(child(element, 'u', 'body') as Element), 'b')
  t.equal(textOf(child(element, 'urn:p', 'body') as Element), 'c')
  t.equal(child(element, 'urn:q'), undefined)
  t.equal(children(element).length, 4)
  t.equal(children(element, 'u').length, 2)
  t.equal(children(element, 'u', 'x').length, 1)
  t.equal(has(element, 'u', 'x'), true)
  t.equal(has(element, 'u', 'y'), false)
  t.equal(textOf(element), 'text')
})

t.test('elements that xml () made are found in the same way', async t => {
  const children: Child[] = [xml('body', {}, 'hi'), null, undefined, false, '', ['nested', xml('x', 'u')], 7]
  const element = xml('message', { to: undefined, type: 'chat', count: 3 }, ...children)
  t.strictSame(element.attrs, { type: 'chat', count: '3' })
  t.equal(namespaceOf(element), NS.CLIENT)
  t.equal(has(element, NS.CLIENT, 'body'), true)
  t.equal(has(element, 'u', 'x'), true)
  t.equal(textOf(element), 'nested7')
  const prefixed = xml('p:a', { 'xmlns:p': 'u' }, xml('p:b'), xml('q:c'), xml('xml:d'))
  t.strictSame(childElements(prefixed).map(namespaceOf), ['u', undefined, NS.XML])
  t.equal(namespaceOf(xml('a', { xmlns: '' })), '')
})

t.test('a plain child of a parsed element is in the namespace around it', async t => {
  const element = stanza("<message xmlns:q='urn:q'><x xmlns='u'/><q:y/></message>")
  t.equal(namespaceOf(only(element).c('z', {})), 'u')
  t.equal(namespaceOf(only(element).c('q:z', {})), 'urn:q')
  t.equal(namespaceOf((childElements(element)[1] as Element).c('z', {})), NS.CLIENT)
  t.equal(only(element).findNS(), 'u')
  t.equal(only(element).getAttr('none', 'urn:q'), undefined)
  t.equal(element.is('message', NS.CLIENT), true)
})

t.test('a copy shares nothing with its original', async t => {
  const element = stanza("<message><x xmlns='u'><y>text</y></x></message>")
  const copy = clone(only(element))
  t.equal(copy.parent, null)
  t.equal(copy.attrs['xmlns'], 'u')
  copy.attrs['b'] = '1'
  only(copy).children.push('more')
  t.equal(octets(element), '<message><x xmlns="u"><y>text</y></x></message>')
  t.equal(octets(copy), '<x xmlns="u" b="1"><y>textmore</y></x>')
  t.equal(only(copy).parent, copy)
})
