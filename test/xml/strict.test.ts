/** Which XML the parser refuses and accepts, as a whole and in pieces; a second parser, saxes, gives its opinion. */
import t from 'tap'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SaxesParser } from 'saxes'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import type { Element } from '../../lib/xml/element.js'
import { toOctets } from '../../lib/xml/octets.js'
import { HEADER, LIMITS, parse, pieces, random, shown, type Reading } from './reading.js'

const FOLDER = join(PACKAGE_ROOT, 'test/xml/cases')
const SENTINEL = "<presence id='SENTINEL'/>"
/** The most that the CPU time of the parser may grow if the text is four times as long. */
const MOST_GROWTH = 6.5

t.test('each hostile file gets its condition, and each good one passes, however it is split', async t => {
  const files = readdirSync(FOLDER).filter(name => name.endsWith('.xml'))
  t.ok(files.length > 100, 'the corpus is there')
  const next = random(11)
  for (const file of files) {
    const wanted = file.split('.').at(-2)
    const bytes = readFileSync(join(FOLDER, file))
    for (const cut of cuts(bytes, next)) t.equal(parse(cut).outcome, wanted, `${file} in ${cut.length} pieces`)
  }
})

t.test('any way of splitting the same bytes gives the same elements, sources, and end', async t => {
  const next = random(5)
  for (let i = 0; i < 1500; i++) {
    const bytes = damaged(Buffer.from(HEADER + mutated(SEEDS[i % SEEDS.length] as string, next) + SENTINEL), next)
    // Small limits, so that they are reached too
    const limits = i % 3 === 0
      ? { bytes: 120 + Math.floor(next() * 200), elements: 5, depth: 3, attributes: 3, name: 10 }
      : LIMITS
    const whole = summary(parse([bytes], limits))
    for (const cut of cuts(bytes, next).slice(1)) {
      const cutOne = summary(parse(cut, limits))
      if (cutOne !== whole) t.equal(cutOne, whole, JSON.stringify(bytes.toString('latin1')))
    }
  }
  t.pass()
})

t.test('the parser and saxes accept the same texts, and read them alike', async t => {
  const next = random(7)
  let taken = 0
  let refused = 0
  for (let i = 0; i < 4000; i++) {
    const xml = Buffer.from(mutated(SEEDS[i % SEEDS.length] as string, next)).toString() // no half of a surrogate pair
    const ours = parse([Buffer.from(HEADER + xml + SENTINEL)])
    const theirs = opinion(xml)
    const isOurs = ours.outcome === 'ok'
    if (isOurs) taken++
    else refused++
    if (isOurs !== theirs.isTaken) t.equal(ours.outcome, theirs.isTaken ? 'ok' : 'refused', JSON.stringify(xml))
    else if (isOurs && theirs.said !== ours.elements.map(told).join('')) t.equal(ours.elements.map(told).join(''), theirs.said, xml)
  }
  t.ok(taken > 500 && refused > 500, `${taken} accepted, ${refused} refused`)
})

t.test('the source of an element is its bytes, however they arrived', async t => {
  const next = random(3)
  const stanzas = SEEDS.map(seed => toOctets(seed))
  const bytes = Buffer.from(HEADER + ' ' + stanzas.join('\n') + SENTINEL, 'latin1')
  bytes.write(HEADER)
  for (const cut of cuts(bytes, next)) {
    const { sources } = parse(cut)
    t.strictSame(sources.slice(0, -1).map(source => source.octets), stanzas)
    for (const { octets, head } of sources) t.equal(octets.charAt(head - 1), '>')
  }
})

t.test('four times the bytes take about four times the time, byte by byte', async t => {
  const shapes: Readonly<Record<string, (size: number) => string>> = {
    text: size => `<message><body>${'x'.repeat(size)}</body></message>`,
    references: size => `<message><body>${'&amp;'.repeat(size / 5)}</body></message>`,
    attribute: size => `<message a="${'x'.repeat(size)}"/>`,
    'attribute with quotes': size => `<message a="${"'".repeat(size)}"/>`,
    'space in a tag': size => `<message ${' '.repeat(size)}/>`,
    cdata: size => `<message><![CDATA[${']'.repeat(size)}]]></message>`,
    'end tag': size => `<message></message${' '.repeat(size)}>`,
    elements: size => `<message>${"<item jid='juliet@example'/>".repeat(size / 28)}</message>`,
    'characters of four bytes': size => `<message><body>${'😀'.repeat(size / 4)}</body></message>`,
  }
  const limits = { ...LIMITS, bytes: 300_000 }
  for (const [name, shape] of Object.entries(shapes)) {
    const small = pieces(Buffer.from(HEADER + shape(65_500) + SENTINEL), () => 1)
    const large = pieces(Buffer.from(HEADER + shape(262_000) + SENTINEL), () => 1)
    t.equal(parse(large, limits).outcome, 'ok', name)
    let ratio = Infinity
    // Other work on the machine makes single measurements vary: the best of several is what the parser needs. The time
    // of a parser that is quadratic in the length grows 16 times, however fast the machine is.
    for (let round = 0, least = Infinity, best = Infinity; round < 9 && ratio > MOST_GROWTH; round++) {
      least = Math.min(least, cpu(() => { parse(small, limits) }))
      best = Math.min(best, cpu(() => { parse(large, limits) }))
      ratio = best / least
    }
    t.ok(ratio <= MOST_GROWTH, `${name}: ${ratio.toFixed(2)} times for four times the bytes`)
  }
})

/** Returns the CPU time of this process that `work` takes, in milliseconds. */
function cpu (work: () => void): number {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

function cuts (bytes: Uint8Array, next: () => number): Uint8Array[][] {
  const upTo = (most: number): Uint8Array[] => pieces(bytes, () => 1 + Math.floor(next() * most))
  return [[bytes], upTo(1), upTo(9), upTo(60)]
}

function summary (reading: Reading): string {
  const { outcome, elements, sources, isClosed } = reading
  return JSON.stringify([outcome, isClosed, elements.map(shown), sources])
}

const SEEDS: readonly string[] = [
  '<message to="a>b" xml:lang="en"><body>&#x41;<![CDATA[<x>]]></body><q:z xmlns:q="urn:q" q:a="1"/></message>',
  "<message\n to = 'a'\t><body >x\r\ny\rz</body\n></message>",
  '<m xmlns:p="u" p:a="1" a="2"><p:b xmlns:p="v"/>é<p:c/></m>',
  '<message type="chat" to="juliet@example.org" id="1"><body>Grüße &amp; 👍 &lt;3</body><active xmlns="http://jabber.org/protocol/chatstates"/></message>',
  '<iq type="set" id="r"><query xmlns="jabber:iq:roster"><item jid="a@b" name="O&apos;Neil"><group>Work &#38; Co</group></item></query></iq>',
  '<presence><show>away</show><priority>5</priority><c xmlns="http://jabber.org/protocol/caps" hash="sha-1" ver="q="/></presence>',
  '<a xmlns="u" xmlns:é="w" é:b="1"><é:ü/><c xmlns=""><d/></c></a>',
  '<r xmlns="urn:xmpp:sm:3"/>',
  '<message><a x="\t&#10;\n&#9;\r\n"/>]]&gt;<![CDATA[]]]]><![CDATA[>]]></message>',
]
const TOKENS = [
  '<', '>', '/', '&', '"', "'", '=', ' ', '\n', '\r', 'xmlns', 'xmlns:p="u"', 'xmlns=""', ':', 'p:', '</', '/>', '<a>', '</a>', '&amp;',
  '&#65;', '&#x0;', '&#xe9;', ']]>', '<![CDATA[', '<!--', '<?', '\x01', 'é', '\ufffe', '😀', '\t', ' a="1"', 'a', '-', '1', '&lt', ';', '\ufeff', '<b p:a="1"/>',
]

function mutated (xml: string, next: () => number): string {
  for (let times = Math.floor(next() * 4); times > 0; times--) {
    const at = Math.floor(next() * xml.length)
    const token = TOKENS[Math.floor(next() * TOKENS.length)] as string
    const kind = next()
    if (kind < 0.4) xml = xml.slice(0, at) + token + xml.slice(at)
    else if (kind < 0.7) xml = xml.slice(0, at) + xml.slice(at + 1 + Math.floor(next() * 3))
    else xml = xml.slice(0, at) + token + xml.slice(at + 1)
  }
  return xml
}

function damaged (bytes: Buffer, next: () => number): Buffer {
  if (next() < 0.3) {
    bytes[HEADER.length + Math.floor(next() * (bytes.length - HEADER.length))] = Math.floor(next() * 256)
  }
  return bytes
}

/** Returns the opinion of saxes, which also refuses what XMPP forbids. */
function opinion (xml: string): { isTaken: boolean, said: string } {
  const parser = new SaxesParser({ xmlns: true, position: false })
  let isBad = false
  let isSeen = false
  let depth = 0
  let said = ''
  const refuse = (): void => { isBad = true }
  parser.on('error', refuse)
  parser.on('comment', refuse)
  parser.on('processinginstruction', refuse)
  parser.on('doctype', refuse)
  parser.on('text', text => {
    if (depth >= 2) said += spelled(text)
    else if (/[^ \t\r\n]/.test(text)) refuse()
  })
  parser.on('cdata', text => {
    if (depth >= 2) said += spelled(text)
    else refuse()
  })
  parser.on('opentag', tag => {
    if (++depth === 1) return
    if (tag.attributes['id']?.value === 'SENTINEL') isSeen = true
    const attributes = Object.values(tag.attributes).filter(({ prefix, name }) => prefix !== 'xmlns' && name !== 'xmlns')
    said += `<${tag.local} ${tag.uri.trim()} ${JSON.stringify(attributes.map(({ name, value }) => [name, value]))}>`
  })
  parser.on('closetag', () => { if (--depth > 0) said += '</>' })
  try {
    parser.write(HEADER + xml + SENTINEL)
  } catch {
    refuse() // saxes throws for some errors
  }
  return { isTaken: !isBad && isSeen && depth === 1, said }
}

function told (element: Element): string {
  const attributes = Object.entries(element.attrs).filter(([key]) => key !== 'xmlns' && !key.startsWith('xmlns:'))
  return `<${element.getName()} ${element.getNS()?.trim()} ${JSON.stringify(attributes)}>` +
    element.children.map(node => typeof node === 'string' ? spelled(node) : told(node)).join('') + '</>'
}

/** Quotes a text character by character, so that adjacent texts compare like one. */
function spelled (text: string): string {
  return Array.from(text, character => JSON.stringify(character)).join('')
}
