/** Decides what an inactive device needs now (XEP-0352 §3), with a list of rules from first to last. */
import { child, namespaceOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import type { Stanza } from './stanza.js'

/**
 * 'now': the stanza is sent, after all that waits. 'hold': it waits for the next stanza that is sent. 'last': the same,
 * but only the last of one sender is sent. 'drop': it is of no use later.
 */
export type Urgency = 'now' | 'hold' | 'last' | 'drop'

/** Returns the urgency of a stanza that the rule knows; undefined leaves it to the next rule. */
export type Rule = (stanza: Stanza) => Urgency | undefined

/** Additions of the operator: namespaces of a message's content, by the urgency of messages with such content. */
export interface Extra { readonly urgentNamespaces: readonly string[], readonly delayedNamespaces: readonly string[] }

/** Returns the rules in their order. */
export function urgencyRules ({ urgentNamespaces, delayedNamespaces }: Extra): readonly Rule[] {
  return [
    iqs,
    presence,
    errors,
    containing(urgentNamespaces, 'now'),
    containing(delayedNamespaces, 'hold'),
    carbons,
    talk,
  ]
}

/**
 * Returns what the first rule decides. A stanza that no rule knows is held: it is meant to be seen, and nobody looks
 * now.
 */
export function urgencyOf (stanza: Stanza, rules: readonly Rule[]): Urgency {
  for (const rule of rules) {
    const urgency = rule(stanza)
    if (urgency !== undefined) return urgency
  }
  return 'hold'
}

/** The sender of an iq waits for the reply. */
function iqs ({ kind }: Stanza): Urgency | undefined { return kind === 'iq' ? 'now' : undefined }

/**
 * Ordinary presence matters only when somebody looks. A subscription request, or a presence of a room with a status
 * code, matters at once.
 */
function presence (stanza: Stanza): Urgency | undefined {
  if (stanza.kind !== 'presence') return undefined
  if (stanza.type !== 'available' && stanza.type !== 'unavailable') return 'now'
  const room = stanza.child(NS.MUC_USER, 'x')
  return room !== undefined && child(room, NS.MUC_USER, 'status') !== undefined ? 'now' : 'last'
}

function errors ({ type }: Stanza): Urgency | undefined { return type === 'error' ? 'now' : undefined }

function containing (namespaces: readonly string[], urgency: Urgency): Rule {
  return stanza => namespaces.some(namespace => stanza.has(namespace)) ? urgency : undefined
}

/** A carbon of a sent message is not urgent. A carbon of a received message is as urgent as the message. */
function carbons (stanza: Stanza): Urgency | undefined {
  if (stanza.has(NS.CARBONS, 'sent')) return 'hold'
  const received = stanza.child(NS.CARBONS, 'received')
  if (received === undefined) return undefined
  const forwarded = child(received, NS.FORWARD, 'forwarded')
  const message = forwarded === undefined ? undefined : child(forwarded, NS.CLIENT, 'message')
  return message === undefined ? 'hold' : ofContent(elementsOf(message))
}

function talk (stanza: Stanza): Urgency { return ofContent([...stanza.children()]) }

/** Content that rings or is read: text, encrypted text, calls, invitations to rooms. */
const URGENT: ReadonlySet<string | undefined> = new Set([
  NS.OMEMO, NS.OMEMO_LEGACY, NS.OPENPGP, NS.JINGLE_MESSAGE, NS.INVITATION, NS.MUC_USER, NS.MAM,
])
/** Content that is soon outdated, or only describes the message. */
const PASSING: ReadonlySet<string | undefined> = new Set([NS.CHAT_STATES, NS.HINTS, NS.STANZA_ID])

function ofContent (content: readonly Element[]): Urgency {
  if (content.some(isUrgent)) return 'now'
  return content.some(element => !PASSING.has(namespaceOf(element)) && !isThread(element)) ? 'hold' : 'drop'
}

function isUrgent (element: Element): boolean {
  const namespace = namespaceOf(element)
  if (namespace !== NS.CLIENT) return URGENT.has(namespace)
  return element.getName() === 'body' || element.getName() === 'subject'
}

function isThread (element: Element): boolean {
  return namespaceOf(element) === NS.CLIENT && element.getName() === 'thread'
}

function elementsOf (element: Element): readonly Element[] {
  return element.children.filter(node => typeof node !== 'string')
}
