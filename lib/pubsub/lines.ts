/**
 * The file of an export of a service's nodes: one JSON value a line. The first line says which format it is, each node
 * has a line, and the lines of its items follow, the oldest first (docs/publish-subscribe.md).
 */
import { hasForm } from '../storage/shape.js'
import { xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { parseElement } from '../xml/parse-element.js'
import { XmlError } from '../xml/xml-error.js'
import { toOctets } from '../xml/writer.js'
import { formatDateTime, parseDateTime } from '../xmpp/datetime.js'
import { StanzaError } from '../xmpp/errors.js'
import { readForm } from '../xmpp/form.js'
import { JidError, parseJid } from '../xmpp/jid.js'
import type { NodeConfig, NodeForm } from './config.js'
import { payloadOf, type Item } from './items.js'
import { isAffiliation, SUBSCRIPTION_KINDS, type Affiliation, type Node, type Subscription } from './node.js'

const FORMAT = 'sestina-pubsub'
const VERSION = 1

/** A node as an export has it: all but its key, which is new after an import. */
export type NodeLine = Omit<Node, 'key'>

/** A line of an export. */
export type ExportLine =
  | { readonly what: 'head', readonly domain: string }
  | { readonly what: 'node', readonly node: NodeLine }
  | { readonly what: 'item', readonly item: Item }

/** Returns the first line. */
export function headLine (domain: string): string {
  return JSON.stringify({ format: FORMAT, version: VERSION, domain })
}

/** Returns the line of a node; its configuration is that of its form, by the names of XEP-0060. */
export function nodeLine (node: Node, form: NodeForm): string {
  const { name, creator, created, affiliations, subscriptions, config } = node
  const values = [...readForm(form.result(config)).fields.values()].map(one => [one.name, one.values] as const)
  return JSON.stringify({
    node: name, creator, created: formatDateTime(created, { milliseconds: true }), config: Object.fromEntries(values),
    affiliations: Object.fromEntries(affiliations),
    // One that ends with the presence of a device is for the server that knows of that.
    subscriptions: subscriptions.filter(({ expires }) => expires !== 'presence').map(writtenSubscription),
  })
}

function writtenSubscription ({ jid, state, subid, deliver, expires, ...more }: Subscription): object {
  const end = typeof expires === 'number' ? formatDateTime(expires, { milliseconds: true }) : undefined
  return { jid, state, subid, deliver, ...end === undefined ? {} : { expires: end }, ...more }
}

/** Returns the line of an item. */
export function itemLine ({ id, publisher, at, payload }: Item): string {
  const published = formatDateTime(at, { milliseconds: true })
  return JSON.stringify({ item: id, publisher, published, ...payload === undefined ? {} : { payload: payload.text } })
}

/**
 * Reads a line. A configuration begins with these defaults. Throws StanzaError if it is no line of this format.
 */
export function readLine (text: string, form: NodeForm, defaults: NodeConfig): ExportLine {
  try {
    return lineOf(parsed(text), form, defaults)
  } catch (error) {
    if (error instanceof JidError || error instanceof XmlError) throw new StanzaError('bad-request', error.message, { cause: error })
    throw error
  }
}

function lineOf (value: unknown, form: NodeForm, defaults: NodeConfig): ExportLine {
  if (hasForm(value, { format: 'string', version: 'number', domain: 'string' })) {
    if (value['format'] !== FORMAT || value['version'] !== VERSION) throw wrong('another format, or another version of it')
    return { what: 'head', domain: String(value['domain']) }
  }
  if (hasForm(value, { item: 'string', publisher: 'string', published: 'string', payload: 'string?' })) {
    return { what: 'item', item: itemIn(value) }
  }
  if (hasForm(value, { node: 'string', creator: 'string', created: 'string', config: 'object', affiliations: 'object' })) {
    return { what: 'node', node: nodeIn(value, form, defaults) }
  }
  throw wrong('a line that is neither a node nor an item')
}

type Values = Readonly<Record<string, unknown>>

function itemIn (value: Values): Item {
  const { item: id, publisher, published, payload } = value
  return {
    id: String(id), publisher: bare(String(publisher)), at: parseDateTime(String(published)),
    ...typeof payload === 'string' ? { payload: payloadOf(parseElement(toOctets(payload))) } : {},
  }
}

function nodeIn (value: Values, form: NodeForm, defaults: NodeConfig): NodeLine {
  const subscriptions: unknown = value['subscriptions']
  if (!Array.isArray(subscriptions)) throw wrong('a node without subscriptions')
  return {
    name: String(value['node']), creator: bare(String(value['creator'])), created: parseDateTime(String(value['created'])),
    config: form.restore(defaults, formOf(value['config'])), affiliations: affiliationsIn(value['affiliations']),
    subscriptions: subscriptions.map(subscriptionIn),
  }
}

function formOf (config: unknown): Element {
  const fields = entriesOf(config).map(([name, values]) => {
    if (!Array.isArray(values)) throw wrong(`the values of ${name} are no list`)
    return xml('field', { var: name }, ...values.map(one => xml('value', {}, String(one))))
  })
  return xml('x', { xmlns: NS.DATA, type: 'submit' }, ...fields)
}

function affiliationsIn (value: unknown): ReadonlyMap<string, Affiliation> {
  const found = new Map<string, Affiliation>()
  for (const [jid, affiliation] of entriesOf(value)) {
    if (typeof affiliation !== 'string' || !isAffiliation(affiliation) || affiliation === 'none') {
      throw wrong(`the affiliation of ${jid} is none of XEP-0060`)
    }
    found.set(bare(jid), affiliation)
  }
  return found
}

function subscriptionIn (value: unknown): Subscription {
  const form = {
    jid: 'string', state: 'string', subid: 'string', deliver: 'boolean', expires: 'string?', kind: 'string?',
    beside: 'boolean?', isPublic: 'boolean?',
  } as const
  if (!hasForm(value, form)) throw wrong('a subscription is incomplete')
  const { jid, state, subid, deliver, expires, depth, beside, isPublic } = value
  const kind = SUBSCRIPTION_KINDS.find(one => one === value['kind'])
  const hasDepth = depth === 'all' || typeof depth === 'number' && Number.isInteger(depth) && depth >= 0
  if (state !== 'subscribed' && state !== 'pending') throw wrong('a subscription is neither subscribed nor pending')
  return {
    jid: parseJid(String(jid)).toString(), state, subid: String(subid), deliver: deliver === true,
    ...typeof expires === 'string' ? { expires: parseDateTime(expires) } : {},
    ...beside === true ? { beside } : {},
    ...kind === undefined ? {} : { kind },
    ...hasDepth ? { depth } : {},
    ...isPublic === true ? { isPublic } : {},
  }
}

function entriesOf (value: unknown): readonly (readonly [string, unknown])[] {
  return typeof value === 'object' && value !== null ? Object.entries(value) : []
}

function bare (text: string): string { return parseJid(text).bare.toString() }

function parsed (text: string): unknown {
  try {
    const value: unknown = JSON.parse(text)
    return value
  } catch (error) {
    throw new StanzaError('bad-request', 'a line is no JSON', { cause: error })
  }
}

function wrong (text: string): StanzaError { return new StanzaError('bad-request', text) }
