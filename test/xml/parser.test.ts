/** The promises of the parser: namespaces, limits, stopping, restarting, and the memory that it keeps. */
import t from 'tap'
import { Parser, XmlError, type Limits, type ParserHandlers } from '../../lib/xml/parser.js'
import type { ParsedElement, Source } from '../../lib/xml/element.js'
import { NS } from '../../lib/xml/namespaces.js'
import { parseElement } from '../../lib/xml/parse-element.js'
import { heapUsed } from '../heap.js'
import { HEADER, LIMITS, parse, pieces } from './reading.js'

const SMALL: Limits = { bytes: 1000, elements: 8, depth: 4, attributes: 4, name: 16 }

/** Makes a parser that records its events. */
function recorder (
  change: Partial<ParserHandlers> = {}, limits = LIMITS, contentNamespace: string = NS.CLIENT,
): Recorder {
  const events: string[] = []
  const parser = new Parser({ limits, contentNamespace }, {
    opened (root) {
      events.push(`opened ${root.attrs['to']}`)
      change.opened?.(root)
    },
    element (element, source) {
      events.push(element.name)
      change.element?.(element, source)
    },
    closed () {
      events.push('closed')
      change.closed?.()
    },
  })
  return { parser, events, write: text => { parser.write(Buffer.from(text)) } }
}

interface Recorder { readonly parser: Parser, readonly events: string[], write (text: string): void }

/** Returns the condition of the XmlError that `work` throws, or undefined. */
function condition (work: () => void): string | undefined {
  try {
    work()
  } catch (error) {
    if (error instanceof XmlError) return error.condition
    throw error
  }
  return undefined
}

interface Read { readonly element: ParsedElement, readonly source: Source }

function read (xml: string, contentNamespace: string = NS.CLIENT, header = HEADER): Read {
  const bytes = Buffer.from(header.replace(NS.CLIENT, contentNamespace) + xml)
  const { elements, sources, outcome } = parse([bytes], LIMITS, contentNamespace)
  const [element] = elements
  const [source] = sources
  if (element === undefined || source === undefined) throw new Error(`${outcome}: ${xml}`)
  return { element, source }
}

t.test('the root is passed on with its namespace and attributes, then each element, then the end', async t => {
  const roots: ParsedElement[] = []
  const { events, write } = recorder({ opened (element) { roots.push(element) } })
  write(`<?xml version='1.0'?>${HEADER}<message/> <iq><a/></iq></stream:stream>`)
  t.strictSame(events, ['opened a', 'message', 'iq', 'closed'])
  t.strictSame(roots.map(({ ns, attrs, children }) => [ns, attrs['version'], children.length]), [[NS.STREAM, '1.0', 0]])
})

t.test('a stream whose root is empty is opened and closed', async t => {
  const { events, write } = recorder()
  write(HEADER.replace('>', '/>'))
  write('<message/>')
  t.strictSame(events, ['opened a', 'closed'])
})

t.test('adjacent text, CDATA and references are one child; line ends are \\n', async t => {
  const { element } = read('<message><body>a&lt;<![CDATA[<b>&amp;\r\n]]>c\r\nd\re</body><x><![CDATA[]]></x></message>')
  t.strictSame((element.children[0] as ParsedElement).children, ['a<<b>&amp;\nc\nd\ne'])
  t.strictSame((element.children[1] as ParsedElement).children, [])
})

t.test('white space in an attribute value is a space, unless it is a reference', async t => {
  t.equal(read("<message a='\t\r\n \n&#9;&#10;&#13;'/>").element.attrs['a'], '    \t\n\r')
})

t.test('the content namespace is read as jabber:client on every stream', async t => {
  for (const namespace of [NS.CLIENT, NS.SERVER, NS.COMPONENT]) {
    const { element, source } = read('<message><body/></message>', namespace)
    t.equal(element.ns, NS.CLIENT)
    t.equal(element.getNS(), NS.CLIENT)
    t.equal((element.children[0] as ParsedElement).ns, NS.CLIENT)
    t.equal(source.portable, true)
    t.equal(read(`<c:message xmlns:c='${namespace}'><c:body/></c:message>`, namespace).element.ns, NS.CLIENT)
    t.equal(read(`<message xmlns='${namespace}'/>`, namespace).element.attrs['xmlns'], NS.CLIENT)
  }
  t.equal(parse([Buffer.from(HEADER.replace(NS.CLIENT, NS.SERVER) + `<message xmlns='${NS.CLIENT}'/>`)], LIMITS, NS.SERVER).outcome, 'invalid-namespace')
})

t.test('an element of no namespace, or of an unknown one, is passed on with it', async t => {
  t.equal(read("<a xmlns=''/>").element.ns, '')
  t.equal(read("<a xmlns='urn:x'><b/></a>").element.ns, 'urn:x')
  t.equal(read("<a xmlns='urn:&#120;'/>").element.ns, 'urn:x')
  t.equal(read("<a xmlns='ü'/>").element.ns, 'ü')
})

t.test('a source is portable if it means the same after another stream header', async t => {
  const is = (xml: string, namespace?: string): boolean => read(xml, namespace).source.portable
  t.equal(is("<message to='a'><body>x</body><q:z xmlns:q='u' q:a='1' xml:lang='en'/></message>"), true)
  t.equal(is(`<message><forwarded xmlns='${NS.FORWARD}'><message xmlns='${NS.CLIENT}'><body/></message></forwarded></message>`), true)
  t.equal(is(`<message><body xmlns='${NS.CLIENT}'/></message>`), false, 'it repeats the content namespace')
  t.equal(is(`<message><x xmlns='u'><body xmlns='${NS.SERVER}'/></x></message>`, NS.SERVER), false, 'it names the content namespace of its stream')
  t.equal(is(`<message xmlns:c='${NS.CLIENT}'><c:body/></message>`), false)
  t.equal(is(`<c:message xmlns:c='${NS.CLIENT}'/>`), false)
  t.equal(is('<message><stream:x/></message>'), false)
  t.equal(is("<message><x xmlns='u' stream:a='1'/></message>"), false)
  t.equal(is("<message xmlns='u'/>"), false)
  t.equal(is('<message/>'), true)
})

t.test('a prefix of the root that an element uses is declared at the element', async t => {
  const header = HEADER.replace(" to='a'", " xmlns:p='urn:p'")
  const { element } = read("<message><x p:a='1'><p:y/></x></message>", NS.CLIENT, header)
  t.equal(element.attrs['xmlns:p'], 'urn:p')
  const x = element.children[0] as ParsedElement
  t.equal(x.getAttr('a', 'urn:p'), '1')
  t.equal(x.findNS('p'), 'urn:p')
  t.equal(x.findNS('q'), undefined)
  t.equal(x.getXmlns()['urn:p'], 'p')
  t.equal((x.children[0] as ParsedElement).ns, 'urn:p')
  t.equal(read('<p:a/>', NS.CLIENT, header).element.attrs['xmlns:p'], 'urn:p')
})

t.test('names that every JavaScript object has are ordinary names', async t => {
  const { element } = read("<__proto__ xmlns='u' __proto__='1' constructor='2' hasOwnProperty='3'><toString/></__proto__>")
  t.strictSame(Object.entries(element.attrs), [['xmlns', 'u'], ['__proto__', '1'], ['constructor', '2'], ['hasOwnProperty', '3']])
  t.equal(Object.getPrototypeOf(element.attrs), Object.prototype)
  t.equal(element.getAttr('__proto__'), '1')
  t.equal(element.getAttr('toString'), undefined)
  t.equal(Object.hasOwn(Object.prototype, '1'), false)
})

t.test('limits count the part of an element that has arrived', async t => {
  const long = 'x'.repeat(1000)
  const rows: Readonly<Record<string, string>> = {
    'an unfinished start tag': `<message ${' '.repeat(1000)}`,
    'an unfinished name': `<${'m'.repeat(1001)}`,
    'an unfinished attribute': `<message to='${long}`,
    'an unfinished text': `<message>${long}`,
    'an unfinished reference': `<message>&${long}`,
    'an unfinished section': `<message><![CDATA[${long}`,
    'an unfinished end tag': `<message></message${long}`,
    'many small children': `<message>${'<a/> '.repeat(5)}${long}`,
    'a whole element': `<message to='${long}'/>`,
    'an element in parts': `<message><a>${'x'.repeat(500)}</a><a>${'x'.repeat(500)}</a></message>`,
    elements: `<message>${'<a/>'.repeat(8)}`,
    depth: '<message><a><a><a><a>',
    attributes: "<message a='' b='' c='' d='' e=''>",
    'namespace declarations': "<message xmlns:a='u' xmlns:b='u' xmlns:c='u' xmlns:d='u' xmlns:e='u'>",
    'prefixes in force': "<message xmlns:a='u' xmlns:b='u'><x xmlns:c='u' xmlns:d='u'>",
    'the length of a name': `<${'m'.repeat(17)}>`,
    'the length of an attribute': `<message ${'m'.repeat(17)}=''>`,
  }
  for (const [name, xml] of Object.entries(rows)) {
    const bytes = Buffer.from(HEADER + xml)
    for (const cut of [[bytes], pieces(bytes, () => 1), pieces(bytes, () => 97)]) t.equal(parse(cut, SMALL).outcome, 'policy-violation', name)
    t.equal(parse([bytes], { ...LIMITS }).outcome, 'waits', `${name}, with more allowed`)
  }
})

t.test('the header and the declaration are limited like an element', async t => {
  for (const xml of [`<?xml ${' '.repeat(1000)}`, `<stream:stream a='${' '.repeat(1000)}`, `<stream:stream ${'a'.repeat(20)}=`, `<${'a'.repeat(1001)}`]) {
    for (const cut of [[Buffer.from(xml + ' ')], pieces(Buffer.from(`${xml} >`), () => 1)]) {
      const { outcome } = parse(cut, SMALL)
      t.ok(outcome === 'policy-violation' || xml.length < 100, outcome)
    }
  }
})

t.test('white space between stanzas is not counted, however much arrives', async t => {
  const { write, events } = recorder({}, SMALL)
  write(HEADER)
  for (let i = 0; i < 100; i++) write(' '.repeat(100))
  write('<message/>')
  t.strictSame(events, ['opened a', 'message'])
})

t.test('the limits apply to each element on its own, and new limits apply at once', async t => {
  const { parser, write, events } = recorder({}, SMALL)
  write(HEADER)
  for (let i = 0; i < 10; i++) write(`<m>${'<a/>'.repeat(7)}${'x'.repeat(900)}</m>`)
  write(`<n>${'x'.repeat(900)}`)
  parser.limits = { ...SMALL, bytes: 10_000 }
  t.equal(parser.limits.bytes, 10_000)
  write(`${'x'.repeat(9000)}</n><o>`)
  t.equal(events.length, 12)
  parser.limits = { ...SMALL, bytes: 10 }
  t.equal(condition(() => { write('xxxxxxxxxx') }), 'policy-violation')
})

t.test('the first error is thrown once and is final; so is an error that a handler throws', async t => {
  const { parser, write, events } = recorder({ element (element) { if (element.name === 'b') throw new RangeError('no b') } })
  write(HEADER)
  t.throws(() => { write('<a/><b/><c/>') }, new RangeError('no b'))
  write('<d/>')
  parser.resume()
  t.strictSame(events, ['opened a', 'a', 'b'])
  const other = recorder()
  t.throws(() => { other.write(`${HEADER}<a/><!-- --><c/>`) }, XmlError)
  other.write('<d/>')
  t.strictSame(other.events, ['opened a', 'a'])
})

t.test('elements before a wrong byte are passed on first', async t => {
  const { events, parser } = recorder()
  t.equal(condition(() => { parser.write(Buffer.from(`${HEADER}<a/><b>\xff`, 'latin1')) }), 'unsupported-encoding')
  const other = recorder()
  t.equal(condition(() => { other.write(`${HEADER}<a/><b>\x02</b>`) }), 'not-well-formed')
  t.strictSame([...events, ...other.events], ['opened a', 'a', 'opened a', 'a'])
})

t.test('a stopped parser passes nothing on, keeps what arrives, and continues where it stopped', async t => {
  const { parser, write, events } = recorder({ element () { parser.stop() } })
  write(`${HEADER}<a/><b/>`)
  write('<c>é')
  parser.write(Buffer.from('é').subarray(0, 1))
  t.strictSame(events, ['opened a', 'a'])
  t.equal(parser.isIdle, false)
  parser.resume()
  t.strictSame(events, ['opened a', 'a', 'b'])
  parser.resume()
  parser.write(Buffer.from('é').subarray(1))
  write('</c>')
  t.strictSame(events, ['opened a', 'a', 'b', 'c'])
  parser.resume()
  t.equal(parser.isIdle, true)
})

t.test('a parser stopped between two writes waits; one that its handler resumes continues at once', async t => {
  const { parser, write, events } = recorder({
    element () {
      parser.stop()
      parser.resume()
    },
  })
  parser.stop()
  write(`${HEADER}<a/>`)
  t.strictSame(events, [])
  parser.resume()
  write('<b/>')
  t.strictSame(events, ['opened a', 'a', 'b'])
})

t.test('an error in the kept bytes is thrown when the parser reaches it', async t => {
  const { parser, write, events } = recorder({ element () { parser.stop() } })
  write(`${HEADER}<a/><b/>\x01`)
  write('<c/>')
  parser.resume()
  t.equal(condition(() => { parser.resume() }), 'not-well-formed')
  t.strictSame(events, ['opened a', 'a', 'b'])
})

t.test('the bytes kept while the parser is stopped are bounded', async t => {
  const { parser, write } = recorder()
  parser.stop()
  for (let i = 0; i < 16; i++) write(' '.repeat(65_536))
  t.equal(condition(() => { write(' ') }), 'policy-violation')
  write(' ')
  parser.resume()
})

t.test('bytes that a handler writes come after those being parsed', async t => {
  const { write, events } = recorder({ element (element) { if (element.name === 'a') write('<c/>') } })
  write(`${HEADER}<a/><b/>`)
  t.strictSame(events, ['opened a', 'a', 'b', 'c'])
})

t.test('after STARTTLS nothing that came before is read: no rest of the chunk, no kept bytes, no half of a character', async t => {
  const { parser, write, events } = recorder({
    element () {
      parser.stop()
      parser.write(Buffer.from('<injected/>'))
    },
  })
  parser.write(Buffer.concat([Buffer.from(`${HEADER}<starttls xmlns='${NS.TLS}'/><injected/><inj`), Buffer.from([0xe2, 0x82])]))
  write('<injected/>')
  parser.reset({ keepRest: false })
  t.equal(parser.isIdle, true)
  parser.resume()
  write(`<?xml version='1.0'?>${HEADER.replace("to='a'", "to='b'")}<auth/>`)
  t.strictSame(events, ['opened a', 'starttls', 'opened b', 'auth'])
})

t.test('after SASL the rest belongs to the new stream, also if the handler resets at once', async t => {
  for (const isLater of [true, false]) {
    const { parser, write, events } = recorder({
      element (element) {
        if (element.name !== 'auth') return
        if (isLater) parser.stop()
        else parser.reset({ keepRest: true })
      },
    })
    write(`${HEADER}<auth/><?xml version='1.0'?>${HEADER.replace("to='a'", "to='b'")}<iq>`)
    if (isLater) {
      t.strictSame(events, ['opened a', 'auth'])
      parser.reset({ keepRest: true })
      parser.resume()
    }
    write('</iq></stream:stream>')
    t.strictSame(events, ['opened a', 'auth', 'opened b', 'iq', 'closed'])
  }
})

t.test('a second header without a reset is an element of the stream, and a header is not expected twice', async t => {
  const { parser, write, events } = recorder({
    opened () { if (events.length === 1) parser.reset({ keepRest: true }) },
  })
  write(`${HEADER}<?xml version='1.0'?>${HEADER}<a/>`)
  t.strictSame(events, ['opened a', 'opened a', 'a'])
})

t.test('bytes that are not in a Buffer are read alike, wherever their memory begins', async t => {
  const bytes = new Uint8Array(Buffer.from(` ${HEADER}<message><body>${'é'.repeat(40)}\n${'x'.repeat(99)}</body></message>`)).subarray(1)
  t.equal(parse([bytes]).elements.length, 1)
  for (let at = 0; at < 8; at++) {
    const shifted = new Uint8Array(bytes.length + at)
    shifted.set(bytes, at)
    shifted[at + HEADER.length + 4] = 2
    t.equal(parse([shifted.subarray(at)]).outcome, 'not-well-formed')
  }
})

t.test('parseElement reads exactly one element from octets', async t => {
  t.equal(parseElement("<message to='a'/> ").ns, NS.CLIENT)
  for (const wrong of ['', ' ', 'text', '<a>', '<a/><b', '<a/><b/>', '<a/>\xe2', '</stream:stream>', '<a/></stream:stream>', '<a/>x', '<!-- -->']) {
    t.throws(() => parseElement(wrong), XmlError, wrong)
  }
})

t.test('an idle parser keeps neither the last element nor its chunk', async t => {
  const parsers: Parser[] = []
  const chunk = 65_536
  for (const tail of ['', '<message to="']) {
    const body = `<message to='juliet@example.org/balcony'><body>${'x'.repeat(chunk)}</body></message>${tail}`
    const before = heapUsed()
    for (let i = 0; i < 100; i++) {
      const { parser, write } = recorder()
      write(HEADER)
      write(body)
      parsers.push(parser)
    }
    const each = (heapUsed() - before) / 100
    t.ok(each < 16_384, `${each.toFixed(0)} bytes a parser, tail ${JSON.stringify(tail)}`)
  }
  t.equal(parsers.length, 200)
})

t.test('a line feed after the old stream does not count as before the declaration of the new one', async t => {
  const { parser, write, events } = recorder({ element (element) { if (element.name === 'auth') parser.reset({ keepRest: true }) } })
  write(`${HEADER}<auth/>\n<?xml version='1.0'?>${HEADER}<iq/>`)
  t.strictSame(events, ['opened a', 'auth', 'opened a', 'iq'])
})
