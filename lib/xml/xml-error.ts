/** What is wrong with a stream's XML, as a stream error condition (RFC 6120 §4.9.3). */

export type XmlCondition =
  | 'bad-format'
  | 'bad-namespace-prefix'
  | 'invalid-namespace'
  | 'not-well-formed'
  | 'policy-violation'
  | 'restricted-xml'
  | 'unsupported-encoding'

/** Thrown by the parser: the stream ends with this condition. The message is for the log and shows nothing of the input. */
export class XmlError extends Error {
  override readonly name = 'XmlError'
  readonly condition: XmlCondition

  constructor (condition: XmlCondition, message: string) {
    super(message)
    this.condition = condition
  }
}

/** Throws: this is no XML (RFC 6120 §4.9.3.13). */
export function malformed (message: string): never {
  throw new XmlError('not-well-formed', message)
}

/** Throws: more than the limits of this stream allow (RFC 6120 §4.9.3.14). */
export function excessive (message: string): never {
  throw new XmlError('policy-violation', message)
}
