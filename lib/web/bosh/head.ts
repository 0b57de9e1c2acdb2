/** The attributes of a client's `<body/>` (XEP-0124), read before its content. */
import { attributeOf, namespaceOfBinding, type ParsedElement } from '../../xml/element.js'
import { NS } from '../../xml/namespaces.js'
import { Parser, XmlError, type Limits } from '../../xml/parser.js'
import { flatten } from '../../xml/writer.js'

/** The root of what a client and this server send each other. */
export const WRAPPER = { namespace: NS.HTTP_BIND, name: 'body' } as const

export interface Head {
  readonly rid: number
  /** Absent in the first request of a session. */
  readonly sid: string | undefined
  /** True if there is nothing in it. */
  readonly isEmpty: boolean
  readonly isTerminate: boolean
  /** The seconds for which the client may be silent after this request. */
  readonly pause: number | undefined
  /** The highest rid up to which the client has all responses. */
  readonly ack: number | undefined
  readonly wait: number | undefined
  readonly hold: number | undefined
  /** The version of BOSH; absent for clients that understand only codes of HTTP. */
  readonly version: string | undefined
  /** The Content-Type that the client can read. */
  readonly content: string | undefined
}

/** The largest rid (XEP-0124 §14.1). */
const LARGEST_RID = Number.MAX_SAFE_INTEGER
/** The limits of the start tag alone. */
const LIMITS: Limits = { bytes: 4096, elements: 1, depth: 1, attributes: 32, name: 256 }

/** Reads the start tag of a body. Throws XmlError if there is none, or if it has no rid. */
export function readHead (body: Uint8Array): Head {
  const root = rootOf(body)
  const rid = numberIn(root, 'rid')
  if (rid === undefined || rid < 1) throw new XmlError('bad-format', 'a request without a rid')
  return {
    rid,
    sid: textIn(root, 'sid'),
    isEmpty: isEmpty(body),
    isTerminate: attributeOf(root, 'type') === 'terminate',
    pause: numberIn(root, 'pause'),
    ack: numberIn(root, 'ack'),
    wait: numberIn(root, 'wait'),
    hold: numberIn(root, 'hold'),
    version: textIn(root, 'ver'),
    content: textIn(root, 'content'),
  }
}

/** True if the body asks for a new stream (XEP-0206 §5). */
export function isRestart (root: ParsedElement): boolean {
  const value = xboshAttribute(root, 'restart')
  return value === 'true' || value === '1'
}

/** Returns an attribute in the namespace of XEP-0206, whatever its prefix. */
export function xboshAttribute (root: ParsedElement, name: string): string | undefined {
  const key = Object.keys(root.attrs).find(key => {
    const [prefix = '', local] = key.split(':')
    return local === name && namespaceOfBinding(root.bindings, prefix) === NS.XBOSH
  })
  return key === undefined ? undefined : attributeOf(root, key)
}

function rootOf (body: Uint8Array): ParsedElement {
  let root: ParsedElement | undefined
  const parser = new Parser({ limits: LIMITS, contentNamespace: NS.CLIENT, root: WRAPPER }, {
    opened: found => {
      root = found
      parser.stop()
    },
    element: () => {},
    closed: () => {},
  })
  parser.write(body)
  if (root === undefined) throw new XmlError('not-well-formed', 'half a body')
  return root
}

function textIn (root: ParsedElement, name: string): string | undefined {
  const text = attributeOf(root, name)
  // copied, so that the body is not held
  return text === undefined ? undefined : flatten(text)
}

function numberIn (root: ParsedElement, name: string): number | undefined {
  const text = attributeOf(root, name)
  if (text === undefined || !/^\d{1,16}$/.test(text)) return undefined
  const number = Number(text)
  return number <= LARGEST_RID ? number : undefined
}

const LESS_THAN = 0x3c, SLASH = 0x2f

/** True if no element follows the start tag. A start tag cannot hold a `<` of its own. */
function isEmpty (body: Uint8Array): boolean {
  const first = body.indexOf(LESS_THAN)
  const second = body.indexOf(LESS_THAN, first + 1)
  return second < 0 || body[second + 1] === SLASH
}
