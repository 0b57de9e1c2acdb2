/** The error for invalid XML in a stream, with its stream error condition (RFC 6120 §4.9.3). */

export type XmlCondition =
  | 'bad-format'
  | 'bad-namespace-prefix'
  | 'invalid-namespace'
  | 'not-well-formed'
  | 'policy-violation'
  | 'restricted-xml'
  | 'unsupported-encoding'

/**
 * Thrown by the parser; the stream ends with this condition. The message is for the log and repeats nothing of the
 * input.
 */
export class XmlError extends Error {
  override readonly name = 'XmlError'
  readonly condition: XmlCondition

  constructor (condition: XmlCondition, message: string) {
    super(message)
    this.condition = condition
  }
}

/** Throws XmlError: the input is not XML (RFC 6120 §4.9.3.13). */
export function malformed (message: string): never {
  throw new XmlError('not-well-formed', message)
}

/** Throws XmlError: the input exceeds the limits of this stream (RFC 6120 §4.9.3.14). */
export function excessive (message: string): never {
  throw new XmlError('policy-violation', message)
}
