/**
 * The forwarded form of a stanza: whatever Sestina's parser accepts on one stream, and however the stanza is changed on
 * its way, another stream has to read exactly one element with the same meaning.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { SaxesParser, type SaxesTagNS } from 'saxes'
import { attributeOf, namespaceOfBinding, isElement, localName, ParsedElement, xml, type Source } from '../../lib/xml/element.js'
import { isContentNamespace, NS } from '../../lib/xml/namespaces.js'
import { parseElement } from '../../lib/xml/parse-element.js'
import { Parser, XmlError } from '../../lib/xml/parser.js'
import { fromOctets, toOctets } from '../../lib/xml/writer.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { forwarded, Stanza } from '../../lib/xmpp/stanza.js'
import { resultStanzas } from '../../modules/mam/query.js'

const LIMITS = { bytes: 1_000_000, elements: 1000, depth: 64, attributes: 64, name: 1024 }
export const CONTENTS = [NS.CLIENT, NS.SERVER, NS.COMPONENT] as const
const FROM = parseJid('juliet@capulet.example/balcony')
const TO = parseJid('romeo@montague.example')
const KINDS = ['message', 'presence', 'iq'] as const

/** The meaning of an element: its namespace, name, attributes and nodes, without prefixes and declarations. */
export type Meaning = readonly [
  namespace: string, name: string,
  attributes: readonly (readonly [string, string])[], nodes: readonly (Meaning | string)[],
]

/** A stanza as it was read, and as it went out. */
export interface Case {
  /** The stream that it came on, up to its end. */
  readonly input: string
  readonly done: string
  readonly output: string
  /** The meaning that has to be read. */
  readonly meaning: Meaning
}

/** Random numbers from a seed (mulberry32). */
export class Chance {
  #state: number
  constructor (seed: number) { this.#state = seed >>> 0 }

  below (most: number): number {
    this.#state = this.#state + 0x6d2b79f5 >>> 0
    let t = this.#state
    t = Math.imul(t ^ t >>> 15, t | 1)
    t ^= t + Math.imul(t ^ t >>> 7, t | 61)
    return ((t ^ t >>> 14) >>> 0) % most
  }

  of<T> (all: readonly T[]): T { return all[this.below(all.length)] as T }
  once (times: number): boolean { return this.below(times) === 0 }
}

// ---- The input --------------------------------------------------------------------------

const NAMES = ['body', 'message', 'x', 'forwarded', 'result', 'é', '_', '__proto__', 'toString', 'constructor', 'a.b-1']
const PREFIXES = ['p', 'q', 'stream', 'xml', '__proto__', 'db']
const URIS = ['urn:x', 'urn:y', NS.FORWARD, NS.CARBONS, NS.MAM, NS.CLIENT, NS.SERVER, NS.COMPONENT, NS.XML, 'ü &amp; &lt;&quot;', NS.STREAM]
const VALUES = ['', 'a', '&lt;/message>&lt;message from=&quot;x&quot;>', 'é', '😀', ' a\n\tb ', '&#9;&#10;&#13;', '&apos;', '> /> ]]&gt;', 'jabber:client', 'x'.repeat(40)]
const TEXTS = ['hi', '&amp;&lt;&gt;', '<![CDATA[</message><message>]]>', '<![CDATA[]]>', 'é😀', '\r\n', '&#13;', ' ', ']]&gt;', '&quot;']

function attributes (chance: Chance, isRoot: boolean): string {
  const used = new Set<string>()
  let text = ''
  const add = (name: string, value: string): void => {
    if (used.has(name)) return
    used.add(name)
    const quote = chance.once(2) ? '"' : "'"
    text += `${chance.of([' ', '\n', '  '])}${name}${chance.of(['=', ' = '])}${quote}${value}${quote}`
  }
  if (chance.once(isRoot ? 6 : 3)) add('xmlns', chance.of(['', ...URIS]))
  while (chance.once(3)) {
    const prefix = chance.of(PREFIXES)
    add(`xmlns:${prefix}`, prefix === 'xml' ? NS.XML : chance.of(URIS))
  }
  while (chance.once(3)) add(chance.once(3) ? `${chance.of(PREFIXES)}:${chance.of(NAMES)}` : chance.of([...NAMES, 'id', 'type', 'from', 'to']), chance.of(VALUES))
  return text
}

function element (chance: Chance, depth: number, root?: string): string {
  const prefix = chance.once(root === undefined ? 4 : 12) ? `${chance.of(PREFIXES)}:` : ''
  const name = `${prefix}${root ?? chance.of(NAMES)}`
  let declaring = attributes(chance, root !== undefined)
  // A prefix that nobody declares is refused, and shows nothing
  if (prefix !== '' && prefix !== 'xml:' && !declaring.includes(`xmlns:${prefix.slice(0, -1)}`) && chance.once(2)) {
    declaring += ` xmlns:${prefix.slice(0, -1)}='${chance.of(root === undefined ? URIS : CONTENTS)}'`
  }
  let inside = ''
  while (depth > 0 && !chance.once(3)) inside += chance.once(3) ? chance.of(TEXTS) : element(chance, depth - 1)
  return inside === '' && chance.once(2) ? `<${name}${declaring}/>` : `<${name}${declaring}>${inside}</${name}${chance.of(['', ' '])}>`
}

/** Returns the header of a stream with this content namespace; `rich` binds more prefixes. */
export function header (content: string, rich = ''): string {
  return `<stream:stream xmlns='${content}' xmlns:stream='${NS.STREAM}' version='1.0'${rich}>`
}

interface Read { readonly element: ParsedElement, readonly source: Source }

/** Returns the top-level elements of a stream; undefined if the parser refuses it. */
function read (text: string, content: string): Read[] | undefined {
  const all: Read[] = []
  const parser = new Parser({ limits: LIMITS, contentNamespace: content }, {
    opened () {}, element (element, source) { all.push({ element, source }) }, closed () {},
  })
  try {
    parser.write(Buffer.from(text))
  } catch (error) {
    if (error instanceof XmlError) return undefined
    throw error
  }
  return parser.isIdle ? all : undefined
}

// ---- Its meaning ----------------------------------------------------------------------------

/** Returns the meaning of an element as Sestina's parser has read it. */
export function meaningOf (element: ParsedElement): Meaning {
  const attributes: [string, string][] = []
  for (const key of Object.keys(element.attrs)) {
    if (key === 'xmlns' || key.startsWith('xmlns:')) continue
    const colon = key.indexOf(':')
    const name = colon < 0 ? key : `{${namespaceOfBinding(element.bindings, key.slice(0, colon)) ?? '?'}}${key.slice(colon + 1)}`
    attributes.push([name, attributeOf(element, key) ?? ''])
  }
  const nodes = element.children.map(node => node instanceof ParsedElement ? meaningOf(node) : String(node))
  return [element.ns, localName(element), sorted(attributes), joined(nodes)]
}

function sorted (attributes: readonly (readonly [string, string])[]): readonly (readonly [string, string])[] {
  return attributes.toSorted(([a], [b]) => a < b ? -1 : a > b ? 1 : 0)
}

function joined (nodes: readonly (Meaning | string)[]): readonly (Meaning | string)[] {
  const all: (Meaning | string)[] = []
  for (const node of nodes) {
    const last = all.at(-1)
    if (typeof node === 'string' && typeof last === 'string') all[all.length - 1] = last + node
    else if (node !== '') all.push(node)
  }
  return all
}

/** Returns the meaning with these addresses, which the server sets. */
function addressed ([namespace, name, attributes, nodes]: Meaning, from: string, to: string | undefined): Meaning {
  const others = attributes.filter(([key]) => key !== 'from' && key !== 'to')
  return [namespace, name, sorted([...others, ['from', from], ...to === undefined ? [] : [['to', to] as const]]), nodes]
}

function plus ([namespace, name, attributes, nodes]: Meaning, ...more: readonly (Meaning | string)[]): Meaning {
  return [namespace, name, attributes, joined([...nodes, ...more])]
}

// ---- The steps on its way --------------------------------------------------------------------

const EXTRA = xml('x', { 'xmlns': 'urn:extra', 'a': '<&"' }, 'text', xml('y'))
const EXTRA_MEANING: Meaning = ['urn:extra', 'x', [['a', '<&"']], ['text', ['urn:extra', 'y', [], []]]]

interface Done { readonly stanza: Stanza, readonly meaning: Meaning }
type Step = (done: Done) => Done

const STEPS: Readonly<Record<string, Step>> = {
  plus: ({ stanza, meaning }) => ({ stanza: stanza.with({ plus: [EXTRA] }), meaning: plus(meaning, EXTRA_MEANING) }),
  without: ({ stanza, meaning }) => {
    const first = stanza.element.children.find(isElement)
    const nodes = [...meaning[3]]
    const at = nodes.findIndex(node => typeof node !== 'string')
    if (first === undefined || at < 0) return { stanza, meaning }
    nodes.splice(at, 1)
    return {
      stanza: stanza.with({ without: child => child === first }),
      meaning: [meaning[0], meaning[1], meaning[2], joined(nodes)],
    }
  },
  kept: ({ stanza, meaning }) => ({ stanza: stanza.detached(), meaning }),
  to: ({ stanza, meaning }) => {
    stanza.octets() // a copy shares what has been written
    return { stanza: stanza.with({ to: FROM, from: TO }), meaning: addressed(meaning, TO.toString(), FROM.toString()) }
  },
  stored: ({ stanza, meaning }) => {
    const element = parseElement(toOctets(fromOctets(stanza.octets())))
    return { stanza: new Stanza(stanza.kind, element, stanza.from, stanza.to), meaning }
  },
  copied: ({ stanza, meaning }) => {
    const copy = new Stanza('message', xml('message', {}, xml('sent', { xmlns: NS.CARBONS }, forwarded(stanza))), FROM, TO)
    return { stanza: copy, meaning: wrapped(['urn:xmpp:carbons:2', 'sent', [], [[NS.FORWARD, 'forwarded', [], [meaning]]]]) }
  },
  archived: ({ stanza, meaning }) => {
    if (stanza.kind !== 'message') return { stanza, meaning }
    const entry = { id: 'i', at: 0, with: '', value: fromOctets(stanza.octets()) }
    const delay: Meaning = [NS.DELAY, 'delay', [['stamp', '1970-01-01T00:00:00.000Z']], []]
    return {
      stanza: [...resultStanzas([entry], FROM, TO, 'q')][0] ?? stanza,
      meaning: wrapped([NS.MAM, 'result', [['id', 'i'], ['queryid', 'q']], [[NS.FORWARD, 'forwarded', [], [delay, meaning]]]]),
    }
  },
}

function wrapped (inner: Meaning): Meaning {
  return [NS.CLIENT, 'message', [['from', FROM.toString()], ['to', TO.toString()]], [inner]]
}

/** Returns a random case; undefined if the parser refused the input. */
export function draw (chance: Chance): Case | undefined {
  const content = chance.of(CONTENTS)
  const rich = chance.once(2) ? '' : ` xmlns:p='${chance.of(URIS.filter(uri => uri !== NS.XML))}' xmlns:q='${chance.of(CONTENTS)}' xmlns:db='${NS.DIALBACK}'`
  const kind = chance.of(KINDS)
  const input = header(content, rich) + element(chance, 4, kind)
  const [first, ...others] = read(input, content) ?? []
  if (first?.element.ns !== NS.CLIENT) return undefined
  if (others.length > 0) throw new Error(`more than one element: ${input}`)
  const isAddressed = !chance.once(8)
  const to = isAddressed ? TO : undefined
  let done: Done = {
    stanza: new Stanza(kind, first.element, FROM, to, first.source),
    meaning: addressed(meaningOf(first.element), FROM.toString(), to?.toString()),
  }
  const names: string[] = []
  while (names.length < 5 && !chance.once(3)) {
    const name = chance.of(Object.keys(STEPS))
    names.push(name)
    done = (STEPS[name] as Step)(done)
  }
  return { input, done: names.join(', '), output: done.stanza.octets(), meaning: done.meaning }
}

// ---- How others read it ---------------------------------------------------------------------------

/**
 * Throws an Error that shows the case if Sestina's parser or saxes reads another meaning from a stream with this
 * content namespace.
 */
export function check (drawn: Case, content: string): void {
  const text = `${header(content)}${fromOctets(drawn.output)}<presence id='last'/></stream:stream>`
  const ours = (read(text, content) ?? []).map(({ element }) => meaningOf(element))
  same(drawn, content, 'our parser', ours)
  same(drawn, content, 'saxes', saxesMeanings(text).map(meaning => contentIn(meaning, content, true)))
}

function same (drawn: Case, content: string, by: string, found: readonly Meaning[]): void {
  const wanted = JSON.stringify([drawn.meaning, [NS.CLIENT, 'presence', [['id', 'last']], []]])
  const got = JSON.stringify(found)
  if (got === wanted) return
  throw new Error(`read by ${by} in ${content}:\n input: ${drawn.input}\n done: ${drawn.done}\noutput: ${drawn.output}\nwanted: ${wanted}\n   got: ${got}`)
}

/**
 * Returns the meaning as a strict reader of a stream sees its namespaces: the stanza and its own content are in that of
 * the stream, and jabber:client is itself everywhere else. Any other namespace becomes '!', which equals nothing.
 */
export function contentIn (meaning: Meaning, content: string, isContent: boolean): Meaning {
  const [namespace, name, attributes, nodes] = meaning
  const isOwn = isContent && namespace === content
  const isRight = isOwn || !isContentNamespace(namespace) || !isContent && namespace === NS.CLIENT
  const own = isOwn ? NS.CLIENT : isRight ? namespace : '!'
  return [own, name, attributes, nodes.map(node => typeof node === 'string' ? node : contentIn(node, content, isOwn))]
}

function saxesMeanings (text: string): Meaning[] {
  interface Open { readonly tag: SaxesTagNS, readonly nodes: (Meaning | string)[] }
  const open: Open[] = []
  const all: Meaning[] = []
  const parser = new SaxesParser({ xmlns: true })
  parser.on('error', error => { throw error })
  parser.on('opentag', tag => { open.push({ tag, nodes: [] }) })
  parser.on('text', text => { open.at(-1)?.nodes.push(text) })
  parser.on('cdata', text => { open.at(-1)?.nodes.push(text) })
  parser.on('closetag', () => {
    const { tag, nodes } = open.pop() as Open
    const attributes = Object.values(tag.attributes).filter(({ name, prefix }) => name !== 'xmlns' && prefix !== 'xmlns')
    const meaning: Meaning = [tag.uri, tag.local, sorted(attributes.map(({ prefix, local, uri, value }) => [prefix === '' ? local : `{${uri}}${local}`, value])), joined(nodes)]
    if (open.length === 1) all.push(meaning)
    else open.at(-1)?.nodes.push(meaning)
  })
  parser.write(text).close()
  return all
}

/**
 * Checks many cases in one stream, read by expat in a process of its own. Throws as `check` does, and if Python 3
 * cannot be run.
 */
export function checkByExpat (cases: readonly Case[], content: string): void {
  const input = `${header(content)}${cases.map(({ output }) => fromOctets(output)).join('')}</stream:stream>`
  const { stdout, stderr, status } = spawnSync('python3', [EXPAT], { input, encoding: 'utf8', maxBuffer: 1 << 30 })
  if (status !== 0) throw new Error(`expat refuses a stream of ${content}: ${stderr}`)
  const found = stdout.trimEnd().split('\n').map(line => contentIn(JSON.parse(line) as Meaning, content, true))
  for (const [at, drawn] of cases.entries()) {
    if (JSON.stringify(found[at]) === JSON.stringify(drawn.meaning)) continue
    throw new Error(`read by expat in ${content}:\n input: ${drawn.input}\n done: ${drawn.done}\noutput: ${drawn.output}\n   got: ${JSON.stringify(found[at])}`)
  }
  if (found.length !== cases.length) throw new Error(`expat has read ${found.length} elements instead of ${cases.length}`)
}

const EXPAT = join(import.meta.dirname, '../../../test/fuzz/expat.py')

/**
 * Makes random cases from these seeds, and checks them with all parsers. Returns how many were accepted. Throws as
 * `check` does.
 */
export function play (first: number, count: number): number {
  const drawn = new Map<string, Case[]>(CONTENTS.map(content => [content, []]))
  let accepted = 0
  for (let seed = first; seed < first + count; seed++) {
    const chance = new Chance(seed)
    const one = draw(chance)
    if (one === undefined) continue
    accepted++
    const content = chance.of(CONTENTS)
    try {
      check(one, content)
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error })
    }
    drawn.get(content)?.push(one)
  }
  for (const [content, cases] of drawn) if (cases.length > 0) checkByExpat(cases, content)
  return accepted
}
