/** The stream error that a peer ends its stream with (RFC 6120 §4.9). */
import { shortened } from '../base/text.js'
import { children, localName, textOf, type ParsedElement } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'

/** `<stream:error/>` from the peer. `host`: where it wants us to go (RFC 6120 §4.9.3.19, see-other-host). */
export class PeerStreamError extends Error {
  readonly condition: string
  readonly host: string | undefined

  constructor (condition: string, host?: string) {
    super(`the peer ended the stream: ${condition}`)
    this.condition = condition
    this.host = host
  }
}

/** As an error of ours. */
export function peerError (element: ParsedElement): PeerStreamError {
  const condition = children(element, NS.STREAMS).find(child => localName(child) !== 'text')
  if (condition === undefined) return new PeerStreamError('undefined-condition')
  const name = localName(condition)
  return new PeerStreamError(shortened(name, 64), name === 'see-other-host' ? shortened(textOf(condition), 1100) : undefined)
}
