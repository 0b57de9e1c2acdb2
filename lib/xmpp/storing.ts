/**
 * Reads from a message whether it is to be stored: the hints of its sender (XEP-0334), and what it holds. Each store
 * has a rule of its own over this reading; docs/delivery.md lists the rules.
 */
import { localName, namespaceOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import type { Stanza } from './stanza.js'

/**
 * The most that a message holds. 'content': what means something later, such as text, also encrypted, a receipt
 * (XEP-0184) or a marker (XEP-0333). 'event': what matters to a device that missed it, but has its place elsewhere: a
 * PubSub event (XEP-0060 §7.1) or a copy of another message (XEP-0280). 'nothing': chat states and metadata.
 */
export type Holding = 'nothing' | 'event' | 'content'

export interface Storing {
  /** XEP-0334 §4.2: stored nowhere, not even for a short time. */
  readonly noStore: boolean
  /** XEP-0334 §4.1: not archived, but may be stored until it is delivered. */
  readonly noPermanentStore: boolean
  /** XEP-0334 §4.4: stored whatever it holds. */
  readonly store: boolean
  /** A page of an archive, for the session that asked (XEP-0313). */
  readonly isResult: boolean
  readonly holds: Holding
}

/** Reads the hints and the content of a message. Looks at each child once. */
export function storingOf (message: Stanza): Storing {
  let [noStore, noPermanentStore, store, isResult] = [false, false, false, false]
  let holds: Holding = 'nothing'
  for (const child of message.children()) {
    const namespace = namespaceOf(child)
    if (namespace === NS.HINTS) {
      const name = localName(child)
      noStore ||= name === 'no-store'
      noPermanentStore ||= name === 'no-permanent-store'
      store ||= name === 'store'
    } else if (holds !== 'content') {
      const held = holdingOf(child, namespace)
      if (held !== 'nothing') holds = held
    }
    isResult ||= namespace === NS.MAM && localName(child) === 'result'
  }
  return { noStore, noPermanentStore, store, isResult, holds }
}

function holdingOf (child: Element, namespace: string | undefined): Holding {
  switch (namespace) {
    case NS.CHAT_STATES: case NS.STANZA_ID: case NS.DELAY: case NS.DELAY_LEGACY: return 'nothing'
    case NS.CLIENT: return localName(child) === 'thread' ? 'nothing' : 'content'
    case NS.CARBONS: return localName(child) === 'private' ? 'nothing' : 'event'
    case NS.PUBSUB_EVENT: return 'event'
    default: return 'content'
  }
}
