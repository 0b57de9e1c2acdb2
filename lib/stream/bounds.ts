/** How much may wait for a peer that reads slowly. All of it is derived from one number, so that no bound contradicts another. */

/** The one number: bytes that may wait in one connection. With more, the connection is given up. */
export const BACKLOG = 8 * 1024 * 1024
/** The same for what is sent to a device without stream management; the rest is room for what ends the stream. */
export const SESSION_BACKLOG = BACKLOG / 2
/** With more bytes than this waiting, a peer is not read itself. */
export const HIGH_WATER = BACKLOG / 32
/** Bytes that may wait for their turn once they are read; then reading pauses. One stanza may be larger. */
export const QUEUE_BYTES = BACKLOG / 32
/**
 * Up to so many waiting bytes, the next piece of a long answer goes out, or of what is sent again. Below the high water: whoever is sent
 * much is still heard when it acknowledges.
 */
export const DRAW_WATER = HIGH_WATER / 4
/** The most bytes of an answer that goes out as one stanza, and of a page of one that goes out in pieces. */
export const LARGEST_ANSWER = BACKLOG / 8
