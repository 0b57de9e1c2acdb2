/** What is of use to somebody who is not looking (XEP-0352 §3): the list that is asked, from the first rule to the last. */
import { child, namespaceOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import type { Stanza } from './stanza.js'

/**
 * 'now': it is sent, and behind all that waits. 'hold': it waits for what is. 'last': the same, and of those from one sender only the last
 * is sent. 'drop': it means nothing later.
 */
export type Urgency = 'now' | 'hold' | 'last' | 'drop'

/** Answers for a stanza that it knows; undefined passes it on to the next rule. */
export type Rule = (stanza: Stanza) => Urgency | undefined

/** What an operator may add: namespaces of a message's content, and what messages with it are. */
export interface Extra { readonly now: readonly string[], readonly hold: readonly string[] }

/** The rules in their order. */
export function urgencyRules ({ now, hold }: Extra): readonly Rule[] {
  return [
    iqs,
    presence,
    errors,
    containing(now, 'now'),
    containing(hold, 'hold'),
    carbons,
    talk,
  ]
}

/** The first rule that knows it decides; what nobody knows is held: it would have been sent to be seen, and nobody looks. */
export function urgencyOf (stanza: Stanza, rules: readonly Rule[]): Urgency {
  for (const rule of rules) {
    const urgency = rule(stanza)
    if (urgency !== undefined) return urgency
  }
  return 'hold'
}

/** Somebody waits for the answer. */
function iqs ({ kind }: Stanza): Urgency | undefined { return kind === 'iq' ? 'now' : undefined }

/** Who is here is of interest when somebody looks; who asks to be a contact, or that one has left a room, is so at once. */
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

/** A copy of what another device has sent is no news; of what has come it is what it is a copy of. */
function carbons (stanza: Stanza): Urgency | undefined {
  if (stanza.has(NS.CARBONS, 'sent')) return 'hold'
  const received = stanza.child(NS.CARBONS, 'received')
  if (received === undefined) return undefined
  const forwarded = child(received, NS.FORWARD, 'forwarded')
  const message = forwarded === undefined ? undefined : child(forwarded, NS.CLIENT, 'message')
  return message === undefined ? 'hold' : ofContent(elementsOf(message))
}

function talk (stanza: Stanza): Urgency { return ofContent([...stanza.children()]) }

/** What rings, or is read: words, and words that only the device can read; calls; being asked into a room. */
const URGENT: ReadonlySet<string | undefined> = new Set([
  NS.OMEMO, NS.OMEMO_LEGACY, NS.OPENPGP, NS.JINGLE_MESSAGE, NS.INVITATION, NS.MUC_USER, NS.MAM,
])
/** What says how it is right now, and what only says something of the message. */
const PASSING: ReadonlySet<string | undefined> = new Set([NS.CHAT_STATES, NS.HINTS, NS.STANZA_ID])

function ofContent (content: readonly Element[]): Urgency {
  if (content.some(isUrgent)) return 'now'
  return content.some(element => !PASSING.has(namespaceOf(element)) && !isThread(element)) ? 'hold' : 'drop'
}

function isUrgent (element: Element): boolean {
  const namespace = namespaceOf(element)
  return namespace === NS.CLIENT ? element.getName() === 'body' || element.getName() === 'subject' : URGENT.has(namespace)
}

function isThread (element: Element): boolean { return namespaceOf(element) === NS.CLIENT && element.getName() === 'thread' }

function elementsOf (element: Element): readonly Element[] {
  return element.children.filter(node => typeof node !== 'string')
}
