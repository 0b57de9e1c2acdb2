/** Reads the stanzas of a component: it writes both addresses, and speaks for its own domain alone (XEP-0114 §3). */
import type { Pipeline } from '../host/pipeline/pipeline.js'
import { attributeOf, localName, type ParsedElement, type Source } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError, StreamError } from '../xmpp/errors.js'
import { JidError, parseJid, type Jid } from '../xmpp/jid.js'
import { addressed, errorReply, isKind, Stanza, type Addressed } from '../xmpp/stanza.js'

/**
 * Returns a stanza; undefined if its recipient cannot be read, which its sender is told. Throws StreamError if the
 * stream must end.
 */
export function readStanza (
  pipeline: Pick<Pipeline, 'route'>, domain: string, element: ParsedElement, source: Source,
): Addressed | undefined {
  const kind = localName(element)
  if (element.ns !== NS.CLIENT || !isKind(kind)) throw new StreamError('unsupported-stanza-type')
  const [fromText, toText] = [attributeOf(element, 'from'), attributeOf(element, 'to')]
  if (fromText === undefined || toText === undefined) throw new StreamError('improper-addressing')
  const from = parsed(fromText)
  if (from?.domain !== domain) throw new StreamError('invalid-from')
  const to = parsed(toText)
  if (to !== undefined) return addressed(new Stanza(kind, element, from, to, source), to)
  // RFC 6120 §8.3.3.8: the mistake of one user of the component must not end the stream for all.
  const stanza = new Stanza(kind, element, from, parseJid(domain))
  const isAnswer = stanza.type === 'error' || kind === 'iq' && stanza.type === 'result'
  if (!isAnswer) pipeline.route(errorReply(stanza, new StanzaError('jid-malformed')))
  return undefined
}

function parsed (text: string): Jid | undefined {
  try {
    return parseJid(text)
  } catch (error) {
    if (error instanceof JidError) return undefined
    throw error
  }
}
