/** The limits of what a peer may send in one element, before and after it has proved who it is. */
import type { Limits } from '../xml/parser.js'

/** The most bytes and elements of one top-level element of a peer that has proved nothing. */
export interface UnauthenticatedLimits { readonly stanza: number, readonly elements: number }

/** Returns the limits of a stream whose peer has proved nothing. */
export function limitsBeforeLogin ({ stanza, elements }: UnauthenticatedLimits): Limits {
  return { bytes: stanza, elements, depth: 16, attributes: 32, name: 256 }
}

/** Returns the limits of a stream whose peer has proved who it is. `bytes`: of its largest stanza. */
export function limitsAfterLogin (bytes: number): Limits {
  return { bytes, elements: 10_000, depth: 64, attributes: 64, name: 1024 }
}
