/** Helpers of the XML tests: the outcome of parsing some chunks, and ways to split bytes. */
import { Parser, XmlError, type Limits } from '../../lib/xml/parser.js'
import type { Element, ParsedElement, Source } from '../../lib/xml/element.js'

export const LIMITS: Limits = { bytes: 262_144, elements: 10_000, depth: 64, attributes: 64, name: 256 }
export const HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='a' version='1.0'>"

export interface Reading {
  /** `ok`: the element with the id SENTINEL arrived. `waits`: it did not. Otherwise the condition of the error. */
  readonly outcome: string
  readonly elements: readonly ParsedElement[]
  readonly sources: readonly Source[]
  readonly isClosed: boolean
}

/** Parses these chunks and returns the outcome. */
export function parse (chunks: readonly Uint8Array[], limits = LIMITS, contentNamespace = 'jabber:client'): Reading {
  const elements: ParsedElement[] = []
  const sources: Source[] = []
  let isClosed = false
  let outcome = 'waits'
  const parser = new Parser({ limits, contentNamespace }, {
    opened () {},
    element (element, source) {
      elements.push(element)
      sources.push(source)
      if (element.attrs['id'] === 'SENTINEL') outcome = 'ok'
    },
    closed () { isClosed = true },
  })
  try {
    for (const chunk of chunks) parser.write(chunk)
  } catch (error) {
    if (!(error instanceof XmlError)) throw error
    outcome = error.condition
  }
  return { outcome, elements, sources, isClosed }
}

/** Splits the bytes into pieces of these sizes. */
export function pieces (bytes: Uint8Array, size: () => number): Uint8Array[] {
  const found: Uint8Array[] = []
  for (let at = 0; at < bytes.length;) {
    const end = at + size()
    found.push(bytes.subarray(at, end))
    at = end
  }
  return found
}

/** Returns a generator of numbers from 0 up to 1, the same for the same seed. */
export function random (seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = state + 0x6d2b79f5 >>> 0
    let mixed = Math.imul(state ^ state >>> 15, state | 1)
    mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61)
    return ((mixed ^ mixed >>> 14) >>> 0) / 4294967296
  }
}

/** Returns all that an element says, as a text to compare. */
export function shown (element: Element): string {
  const attributes = Object.keys(element.attrs).filter(key => !key.startsWith('xmlns')).map(key => [key, element.attrs[key] as string])
  return JSON.stringify([element.getName(), element.getNS(), attributes]) +
    element.children.map(node => typeof node === 'string' ? JSON.stringify(node) : shown(node)).join('') + ';'
}
