/** Parses the requests of clients (XEP-0357 §5, §6), and the withdrawal of a node by its app server (§8). */
import {
  attributeOf, child, children, clone, flatten, fromOctets, NS, octets, readJid, StanzaError, textOf,
} from '../../lib/api.js'
import type { Element, Jid, Message } from '../../lib/api.js'

/** The longest node and the largest publish-options that are stored, in bytes. */
const NODE = 1024
const OPTIONS = 8192

/** The service, and the node if one is named, of a request. */
export interface Target { readonly service: Jid, readonly node: string | undefined }

/** Reads the target of `<enable/>` or `<disable/>`. Throws StanzaError. */
export function targetIn (request: Element): Target {
  const jid = attributeOf(request, 'jid')
  if (jid === undefined || jid === '') throw new StanzaError('bad-request', 'no service is given') // §5, §6: MUST
  return { service: readJid(jid), node: nodeIn(request) }
}

/** Returns the publish-options in `<enable/>` as XML; undefined if there are none. Throws StanzaError. */
export function optionsIn (request: Element): string | undefined {
  const forms = children(request, NS.DATA, 'x')
  const [form] = forms
  if (form === undefined) return undefined
  const type = children(form, NS.DATA, 'field').find(field => attributeOf(field, 'var') === 'FORM_TYPE')
  const value = type === undefined ? undefined : child(type, NS.DATA, 'value')
  if (forms.length > 1 || value === undefined || textOf(value).trim() !== NS.PUBSUB_PUBLISH_OPTIONS) {
    throw new StanzaError('bad-request', 'only one form, with publish-options, is allowed')
  }
  const text = fromOctets(octets(clone(form)))
  if (Buffer.byteLength(text) > OPTIONS) throw new StanzaError('not-acceptable', 'the options are too large')
  return text
}

/**
 * Returns the node to which the account or this server may no longer publish (§8); undefined if the message says no
 * such thing.
 */
export function withdrawnIn (message: Message, account: Jid): { readonly node: string | undefined } | undefined {
  const pubsub = message.child(NS.PUBSUB, 'pubsub')
  if (pubsub === undefined || message.type === 'error') return undefined
  for (const affiliation of children(pubsub, NS.PUBSUB, 'affiliation')) {
    const jid = attributeOf(affiliation, 'jid')
    if (jid !== account.toString() && jid !== account.domain) continue
    if (!POWERLESS.has(attributeOf(affiliation, 'affiliation'))) continue
    return { node: attributeOf(pubsub, 'node') ?? attributeOf(affiliation, 'node') }
  }
  return undefined
}

/** Affiliations that do not allow publishing (XEP-0060 §4.1). */
const POWERLESS: ReadonlySet<string | undefined> = new Set(['none', 'outcast', 'member'])

function nodeIn (request: Element): string | undefined {
  const node = attributeOf(request, 'node')
  if (node === undefined || node === '') return undefined
  if (Buffer.byteLength(node) > NODE) throw new StanzaError('not-acceptable', 'the name of the node is too long')
  return flatten(node)
}
