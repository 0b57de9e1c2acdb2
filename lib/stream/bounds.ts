/** Bounds for what waits for a peer that reads slowly. All derive from one number, so that none contradicts another. */

/**
 * The bytes that may wait in one connection. With more, the connection is given up. The other bounds derive from this
 * one.
 */
export const BACKLOG = 8 * 1024 * 1024
/**
 * The bytes that may wait for a device without stream management. The rest of `BACKLOG` is room for what ends the
 * stream.
 */
export const SESSION_BACKLOG = BACKLOG / 2
/** With more bytes than this waiting for a peer, the peer itself is not read. */
export const HIGH_WATER = BACKLOG / 32
/**
 * The bytes of elements that were read and wait for their turn. With more, reading pauses. One stanza may be larger.
 */
export const QUEUE_BYTES = BACKLOG / 32
/**
 * The next part of a long answer or of a repeat is sent when no more bytes than this wait. Below the high water, so
 * that acknowledgements of a peer that is sent much are still read.
 */
export const DRAW_WATER = HIGH_WATER / 4
/** The most bytes of an answer that is sent as one stanza, and of one page of an answer that is sent in parts. */
export const LARGEST_ANSWER = BACKLOG / 8
