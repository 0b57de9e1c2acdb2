/** The contents of a stanza stay inside it, whoever wrote it and however it is written. */
import t from 'tap'
import { NS } from '../../lib/xml/namespaces.js'
import { child, namespaceOf, xml } from '../../lib/xml/element.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { forwarded, Stanza } from '../../lib/xmpp/stanza.js'
import { parse, LIMITS } from '../xml/reading.js'

const FROM = parseJid('mallory@a.example/x')
const TO = parseJid('romeo@b.example')

function header (content: string): string { return `<stream:stream xmlns='${content}' xmlns:stream='${NS.STREAM}' version='1.0'>` }

/** Parses a message as it came on a stream with this content namespace. */
function message (text: string, content: string = NS.CLIENT): Stanza<'message'> {
  const { elements, sources, outcome } = parse([Buffer.from(header(content) + text)], LIMITS, content)
  if (elements[0] === undefined) throw new Error(outcome)
  return new Stanza('message', elements[0], FROM, TO, sources[0])
}

/** Returns what another server reads from the octets that go out. */
function readAgain (octets: string, content: string = NS.SERVER): readonly unknown[] {
  const { elements } = parse([Buffer.from(header(content)), Buffer.from(octets, 'latin1')], LIMITS, content)
  return elements.map(element => [element.name, element.attrs['from'], element.children.length])
}

// A child that cannot be forwarded as it came, so that the whole stanza is written anew.
const ANEW = "<y xmlns='urn:y'><c:z xmlns:c='jabber:client'/></y>"
const FORGED = '&lt;/message>&lt;message from=&quot;juliet@b.example&quot;>&lt;body>forged&lt;/body>&lt;/message>'

t.test('a declaration of the prefix xml moves nothing out of its stanza', async t => {
  for (const text of [
    `<message xmlns:xml='${NS.XML}' xml:lang='en'><body a='${FORGED}'/>${ANEW}</message>`,
    `<message><body xmlns:xml='${NS.XML}' a='${FORGED}'>x</body>${ANEW}</message>`,
    `<message xmlns:xml='${NS.XML}'><body>${'x'.repeat(60)}&lt;/message>&lt;presence from='juliet@b.example'/></body>${ANEW}</message>`,
  ]) {
    for (const stanza of [message(text), message(text).with({ plus: [xml('p', { xmlns: 'urn:p' })] }), message(text).detached()]) {
      const [first, ...others] = readAgain(stanza.octets())
      t.match(first, ['message', 'mallory@a.example/x'])
      t.strictSame(others, [])
      t.notMatch(stanza.octets(), 'xmlns:xml')
    }
  }
})

t.test('an attribute named __proto__ stays an attribute of its stanza', async t => {
  const text = `<message __proto__='${FORGED}' id='1'><body>hi</body>${ANEW}</message>`
  const plain = message(text)
  const changed = plain.with({ without: child => child.name === 'body' })
  for (const stanza of [plain, changed, plain.detached(), plain.with({ plus: [xml('p', { xmlns: 'urn:p' })] })]) {
    const octets = stanza.octets()
    const { elements } = parse([Buffer.from(header(NS.SERVER)), Buffer.from(octets, 'latin1')], LIMITS, NS.SERVER)
    t.equal(elements.length, 1)
    t.strictSame(Object.entries(elements[0]?.attrs ?? {}).find(([key]) => key === '__proto__')?.[1], FORGED.replaceAll('&lt;', '<').replaceAll('&quot;', '"'))
  }
  t.match(new Stanza('message', xml('message', {}, forwarded(plain)), FROM, TO).octets(), '__proto__=')
})

t.test("a stanza's own content has the namespace of the stream that it leaves by, and no prefix (RFC 6120 §4.8.3, §4.8.5)", async t => {
  for (const text of [
    "<message><x:body xmlns:x='jabber:client'>hi</x:body></message>",
    "<x:message xmlns:x='jabber:client'><x:body>hi</x:body></x:message>",
    "<message><body xmlns='jabber:server'>hi</body></message>",
    "<message xmlns='jabber:client'><body xmlns='jabber:client'>hi</body></message>",
  ]) {
    const stanza = message(text)
    t.equal(stanza.octets(), '<message from="mallory@a.example/x" to="romeo@b.example"><body>hi</body></message>', text)
    t.ok(stanza.has(NS.CLIENT, 'body'))
  }
})

t.test('beneath a foreign element, a stanza declares jabber:client (XEP-0297 §4)', async t => {
  for (const inner of [
    "<message xmlns='jabber:client'><body>hi</body></message>",
    "<message xmlns='jabber:server'><body>hi</body></message>",
    "<c:message xmlns:c='jabber:client'><c:body>hi</c:body></c:message>",
  ]) {
    const stanza = message(`<message><forwarded xmlns='${NS.FORWARD}'>${inner}</forwarded></message>`)
    t.match(stanza.octets(), `<forwarded xmlns=${inner.includes('c:') || inner.includes('server') ? '"' : "'"}${NS.FORWARD}`)
    t.match(stanza.octets(), /<message xmlns=["']jabber:client["']><body>hi<\/body><\/message>/)
    const { elements } = parse([Buffer.from(header(NS.SERVER)), Buffer.from(stanza.octets(), 'latin1')], LIMITS, NS.SERVER)
    const inside = child(child(elements[0]!, NS.FORWARD)!, NS.CLIENT, 'message')!
    t.equal(namespaceOf(inside), NS.CLIENT)
  }
  const prefixed = message(`<message><f:forwarded xmlns:f='${NS.FORWARD}'><message><body>hi</body></message></f:forwarded></message>`)
  t.match(prefixed.octets(), '<message xmlns="jabber:client"><body>hi</body></message>')
})

t.test('a stored stanza is forwarded as it came, without the memory that it came in', async t => {
  const stanza = message("<message><body  a='1'>hi</body ></message>")
  t.equal(stanza.detached().octets(), stanza.octets())
  t.match(stanza.detached().with({ plus: [xml('p', { xmlns: 'urn:p' })] }).octets(), "<body  a='1'>hi</body ><p xmlns=\"urn:p\"/>")
})
