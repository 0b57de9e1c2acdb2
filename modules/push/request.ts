/** What a client asks for (XEP-0357 §5, §6), and what an app server says of its node (§8). */
import {
  attributeOf, child, children, clone, flatten, fromOctets, JidError, NS, octets, parseJid, StanzaError, textOf,
} from '../../lib/api.js'
import type { Element, Jid, Message } from '../../lib/api.js'

/** What a client may have kept for an app server, in bytes. */
const NODE = 1024
const OPTIONS = 8192

export interface Target { readonly service: Jid, readonly node: string | undefined }

/** Of `<enable/>` and `<disable/>`. Throws StanzaError. */
export function targetIn (request: Element): Target {
  const jid = attributeOf(request, 'jid')
  if (jid === undefined || jid === '') throw new StanzaError('bad-request', 'which service is meant?') // §5, §6: MUST
  return { service: addressIn(jid), node: nodeIn(request) }
}

/** The publish-options in `<enable/>`, as they came; undefined where there are none. Throws StanzaError. */
export function optionsIn (request: Element): string | undefined {
  const forms = children(request, NS.DATA, 'x')
  const [form] = forms
  if (form === undefined) return undefined
  const type = children(form, NS.DATA, 'field').find(field => attributeOf(field, 'var') === 'FORM_TYPE')
  const value = type === undefined ? undefined : child(type, NS.DATA, 'value')
  if (forms.length > 1 || value === undefined || textOf(value).trim() !== NS.PUBSUB_PUBLISH_OPTIONS) {
    throw new StanzaError('bad-request', 'one form at most, of publish-options')
  }
  const text = fromOctets(octets(clone(form)))
  if (Buffer.byteLength(text) > OPTIONS) throw new StanzaError('not-acceptable', 'the options are too large')
  return text
}

/** §8: the node to which the account, or its server, may not publish any more; undefined where the message says nothing of the kind. */
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

/** XEP-0060 §4.1: who has one of these may not publish. */
const POWERLESS: ReadonlySet<string | undefined> = new Set(['none', 'outcast', 'member'])

function nodeIn (request: Element): string | undefined {
  const node = attributeOf(request, 'node')
  if (node === undefined || node === '') return undefined
  if (Buffer.byteLength(node) > NODE) throw new StanzaError('not-acceptable', 'the name of the node is too long')
  return flatten(node)
}

function addressIn (text: string): Jid {
  try {
    return parseJid(text)
  } catch (error) {
    if (!(error instanceof JidError)) throw error
    throw new StanzaError('jid-malformed', undefined, { cause: error })
  }
}
