/** XEP-0227: the files of accounts, as a sequence of hosts, users and what stands in these; XInclude resolved. */
import { createReadStream, realpathSync, statSync } from 'node:fs'
import { basename, dirname, relative, resolve } from 'node:path'
import { readDocument, DocumentError, type Opened } from '../xml/document.js'
import { attributeOf, localName, namespaceOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { CommandError } from './talk.js'

/** Where something stands. */
export interface Spot { readonly file: string, readonly line: number }

export type Step = Spot & (
  | { readonly kind: 'host', readonly jid: string }
  | { readonly kind: 'user', readonly name: string | undefined, readonly password: string | undefined }
  | { readonly kind: 'userEnd' }
  /** An element of a user, or of a container in it. */
  | { readonly kind: 'element', readonly element: Element, readonly within: Container | undefined }
  /** Something that is not taken; `inUser`: of the user that is open. */
  | { readonly kind: 'refused', readonly text: string, readonly inUser: boolean }
)

export interface Container { readonly namespace: string, readonly name: string }

/** What is read of the files so far, for a bar of progress. */
export interface Measure { read: number, whole: number }

/** No single element is longer, in characters. */
const LONGEST = 16 * 1024 * 1024
/** What in a user is read element by element, however long it is. */
const CONTAINERS: ReadonlySet<string> = new Set([
  `${NS.PIE} offline-messages`, `${NS.ROSTER} query`, `${NS.PRIVATE} query`, `${NS.BLOCKING} blocklist`, `${NS.PIE_MAM} archive`,
])
/** server-data, host, user, each with its name. Files may begin with any of them where they are included. */
const LEVELS = ['server-data', 'host', 'user'] as const
/** XEP-0227 §5: a file for a host, a file for a user, and one for a part of it. */
const DEEPEST = 4

/** The steps of a file and of all it includes. Throws CommandError with the place of what makes it unreadable. */
export function readAccounts (file: string, measure: Measure): AsyncGenerator<Step> {
  measure.whole += sizeOf(file)
  return new Reading(dirname(realpathSync(file)), measure).file(file, [], 0)
}

class Reading {
  readonly #folder: string
  readonly #measure: Measure

  constructor (folder: string, measure: Measure) {
    this.#folder = folder
    this.#measure = measure
  }

  async * file (file: string, around: readonly Opened[], depth: number): AsyncGenerator<Step> {
    const opened = [...around]
    const pieces = readDocument(this.#bytes(file), { longest: LONGEST, opens: (inner, tag) => isOpened([...around, ...inner], tag) })
    try {
      for await (const piece of pieces) {
        const { line } = piece
        if (piece.kind === 'open') {
          yield * this.#entered(opened, piece.tag, { file, line })
          opened.push(piece.tag)
        } else if (piece.kind === 'close') {
          opened.pop()
          if (isUser(piece.tag)) yield { kind: 'userEnd', file, line }
        } else if (piece.kind === 'refused') {
          yield { kind: 'refused', text: `<${piece.name}/>: ${piece.text}`, inUser: opened.some(isUser), file, line }
        } else if (isInclude(piece.element) && opened.length <= LEVELS.length) {
          yield * this.#included(piece.element, opened, { file, line }, depth)
        } else {
          yield stepOf(piece.element, opened, { file, line })
        }
      }
    } catch (error) {
      if (error instanceof DocumentError) throw new CommandError(`${file}:${error.line}: ${error.message}`, { cause: error })
      throw error
    }
  }

  async * #bytes (file: string): AsyncGenerator<Uint8Array> {
    const stream: AsyncIterable<Uint8Array> = createReadStream(file, { highWaterMark: 65_536 })
    for await (const chunk of stream) {
      this.#measure.read += chunk.length
      yield chunk
    }
  }

  * #entered (around: readonly Opened[], tag: Opened, spot: Spot): Generator<Step> {
    if (around.length >= LEVELS.length) return
    if (tag.name === 'host') yield { kind: 'host', jid: tag.attributes.get('jid') ?? '', ...spot }
    if (tag.name === 'user') yield { kind: 'user', name: tag.attributes.get('name'), password: tag.attributes.get('password'), ...spot }
  }

  /** XEP-0227 §5: a relative href and nothing else; here it stays below the folder of the first file as well. */
  async * #included (include: Element, opened: readonly Opened[], spot: Spot, depth: number): AsyncGenerator<Step> {
    const href = attributeOf(include, 'href') ?? ''
    const path = resolve(dirname(spot.file), decoded(href))
    const refused = (text: string): Step => ({ kind: 'refused', text: `${href} is not included: ${text}`, inUser: opened.some(isUser), ...spot })
    if (attributeOf(include, 'parse') !== undefined || attributeOf(include, 'xpointer') !== undefined || href === '' || /^[a-z][a-z0-9+.-]*:|^[/#]/i.test(href)) {
      yield refused('only a relative path of a file is')
    } else if (depth >= DEEPEST) {
      yield refused('files include each other too deeply')
    } else if (!isBelow(this.#folder, path)) {
      yield refused('there is no such file in the folder of the first one')
    } else {
      this.#measure.whole += sizeOf(path)
      yield * this.file(path, opened, depth + 1)
    }
  }
}

function stepOf (element: Element, opened: readonly Opened[], spot: Spot): Step {
  const user = opened.findIndex(isUser)
  if (user >= 0) {
    const container = opened[user + 1]
    return { kind: 'element', element, within: container === undefined ? undefined : { namespace: container.namespace, name: container.name }, ...spot }
  }
  if (opened.length === 0) throw new CommandError(`${spot.file}:${spot.line}: not a file of accounts (XEP-0227): it begins with <${localName(element)}/>`)
  return { kind: 'refused', text: `nothing takes <${localName(element)} xmlns='${namespaceOf(element) ?? ''}'/>`, inUser: false, ...spot }
}

/** An included file begins where the one that includes it stands; the first one at the top. */
function isOpened (around: readonly Opened[], tag: Opened): boolean {
  if (around.length < LEVELS.length) return tag.namespace === NS.PIE && tag.name === LEVELS[around.length]
  return around.length === LEVELS.length && CONTAINERS.has(`${tag.namespace} ${tag.name}`)
}

function isUser (tag: Opened): boolean { return tag.namespace === NS.PIE && tag.name === 'user' }
function isInclude (element: Element): boolean { return namespaceOf(element) === NS.XINCLUDE && localName(element) === 'include' }

/** An href is a URI: `%20` is a space. What is none is a name as it stands. */
function decoded (href: string): string {
  try {
    return decodeURIComponent(href)
  } catch (error) {
    if (!(error instanceof URIError)) throw error
    return href
  }
}

function isBelow (folder: string, path: string): boolean {
  try {
    const inside = relative(folder, realpathSync(path))
    return inside !== '' && !inside.startsWith('..') && statSync(path).isFile()
  } catch (error) {
    if (error instanceof Error && 'code' in error) return false // it is not there
    throw error
  }
}

function sizeOf (file: string): number {
  const found = statSync(file, { throwIfNoEntry: false })
  if (found === undefined) throw new CommandError(`there is no file ${file}`)
  if (!found.isFile()) throw new CommandError(`${basename(file)} is not a file`)
  return found.size
}
