/**
 * The framing of a stream: how its header, its elements and its end are laid out on a transport. RFC 6120 has one XML
 * document for each direction. WebSocket (RFC 7395) and BOSH (XEP-0124) have others; the streams above are the same.
 */
import type { ParsedElement, Source } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { Parser, type Limits, type ParserSettings } from '../xml/parser.js'
import { startTag } from '../xml/writer.js'
import { readHeader, type OwnHeader, type StreamHeader } from './header.js'

/** The handlers of a reader. Each may call the reader's `stop`. */
export interface ReaderHandlers {
  /** The peer's header has come. */
  opened (root: ParsedElement): void
  /** An element is complete. */
  element (element: ParsedElement, source: Source): void
  /** The peer has closed its stream. No further call follows. */
  closed (): void
}

/** Reads what comes from a transport, in the pieces in which that hands it over. */
export interface Reader {
  /** The limits of an element. A change takes effect at once. */
  limits: Limits
  /** Reads a piece. Throws XmlError, or what a handler throws. While it is stopped, it keeps a bounded amount. */
  write (piece: Uint8Array): void
  /** Stops after the element that is being handled, and keeps the rest. */
  stop (): void
  /** Continues with the rest. Throws as `write` does. */
  resume (): void
  /** Expects a new header (RFC 6120 §4.3.3). After STARTTLS earlier input must be dropped (§5.4.3.3). */
  reset (how: { readonly keepRest: boolean }): void
}

export interface Framing {
  /** True if a stream can be encrypted after it has begun (RFC 6120 §5). Otherwise only the transport encrypts. */
  readonly hasStartTls: boolean
  /** Sent alone, it shows whether the connection still works; undefined if the transport does that by itself. */
  readonly keepalive: string | undefined
  /** The end of our stream (RFC 6120 §4.4). */
  readonly end: string
  /** Makes the reader of one stream. */
  reader (how: ParserSettings, handlers: ReaderHandlers): Reader
  /** Reads the peer's header. Throws StreamError. */
  readHeader (root: ParsedElement): StreamHeader
  /** Returns our header as octets. */
  header (own: OwnHeader): string
  /** Returns one element as it goes on the transport. `octets`: as it is written inside of a stream. */
  element (octets: string): string
}

/** The language of all texts that this server makes. */
export const LANGUAGE = 'en'

/** The XML stream of RFC 6120 §4: one document for each direction, over octets without borders. */
export const XML_STREAM: Framing = {
  hasStartTls: true,
  keepalive: ' ', // RFC 6120 §4.6.1
  end: '</stream:stream>',
  reader: (how, handlers) => new Parser(how, handlers),
  readHeader,
  // RFC 6120 §4.2, §4.7
  header: own => "<?xml version='1.0'?>" + startTag('stream:stream', {
    'xmlns': own.namespace,
    'xmlns:stream': NS.STREAM,
    // XEP-0220 §2.1: between servers, the prefix of dialback is declared here.
    'xmlns:db': own.namespace === NS.SERVER ? NS.DIALBACK : undefined,
    'id': own.id,
    'from': own.from,
    'to': own.to,
    'version': '1.0',
    'xml:lang': LANGUAGE,
  }),
  element: octets => octets,
}
