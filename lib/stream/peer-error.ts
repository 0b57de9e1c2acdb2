/** The stream error with which a peer ends its stream (RFC 6120 §4.9). */
import { shortened } from '../base/text.js'
import { children, localName, textOf, type ParsedElement } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'

/** A `<stream:error/>` from the peer. `host`: the server that it sends us to (RFC 6120 §4.9.3.19, see-other-host). */
export class PeerStreamError extends Error {
  readonly condition: string
  readonly host: string | undefined

  constructor (condition: string, host?: string) {
    super(`the peer ended the stream: ${condition}`)
    this.condition = condition
    this.host = host
  }
}

/** Reads a peer's `<stream:error/>`. */
export function peerError (element: ParsedElement): PeerStreamError {
  const condition = children(element, NS.STREAMS).find(child => localName(child) !== 'text')
  if (condition === undefined) return new PeerStreamError('undefined-condition')
  const name = localName(condition)
  const host = name === 'see-other-host' ? shortened(textOf(condition), 1100) : undefined
  return new PeerStreamError(shortened(name, 64), host)
}
