/** Reads files of accounts (XEP-0227) as a sequence of hosts, users and their elements, with XInclude resolved. */
import { createReadStream, realpathSync, statSync } from 'node:fs'
import { basename, dirname, relative, resolve } from 'node:path'
import { readDocument, DocumentError, type Opened } from '../xml/document.js'
import { attributeOf, localName, namespaceOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { CommandError } from './talk.js'

/** A place in a file. */
export interface FilePlace { readonly file: string, readonly line: number }

/** One step of reading a file of accounts. */
export type Step = FilePlace & (
  | { readonly kind: 'host', readonly jid: string }
  | { readonly kind: 'user', readonly name: string | undefined, readonly password: string | undefined }
  | { readonly kind: 'userEnd' }
  /** An element of a user, or of a container in it. */
  | { readonly kind: 'element', readonly element: Element, readonly within: Container | undefined }
  /** Something that is not imported. `inUser` is true if it belongs to the open user. */
  | { readonly kind: 'refused', readonly text: string, readonly inUser: boolean }
)

/** The name of an element that holds others, such as an archive. */
export interface Container { readonly namespace: string, readonly name: string }

/** The number of bytes of the files that were read so far, and in all, for a progress bar. */
export interface ReadProgress { read: number, whole: number }

/** The most characters of one element. */
const LONGEST = 16 * 1024 * 1024
/** The containers in a user that are read element by element, and so may be of any length. */
const CONTAINERS: ReadonlySet<string> = new Set([
  `${NS.PIE} offline-messages`, `${NS.ROSTER} query`, `${NS.PRIVATE} query`, `${NS.BLOCKING} blocklist`, `${NS.PIE_MAM} archive`,
  `${NS.PUBSUB_OWNER} pubsub`, `${NS.PUBSUB} pubsub`,
])
/** The outer elements of a file, from the outside in. An included file may begin with any of them. */
const LEVELS = ['server-data', 'host', 'user'] as const
/**
 * How deep files may include one another. XEP-0227 §5 has one for a host, one for a user and one for a part of a user.
 */
const DEEPEST = 4

/** Reads a file and all files it includes. Throws CommandError, with the place, if one of them cannot be read. */
export function readAccounts (file: string, measure: ReadProgress): AsyncGenerator<Step> {
  measure.whole += sizeOf(file)
  return new Reading(dirname(realpathSync(file)), measure).file(file, [], 0)
}

class Reading {
  readonly #folder: string
  readonly #measure: ReadProgress

  constructor (folder: string, measure: ReadProgress) {
    this.#folder = folder
    this.#measure = measure
  }

  async * file (file: string, around: readonly Opened[], depth: number): AsyncGenerator<Step> {
    const opened = [...around]
    const pieces = readDocument(this.#bytes(file), {
      longest: LONGEST, opens: (inner, tag) => isOpened([...around, ...inner], tag),
    })
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

  * #entered (around: readonly Opened[], tag: Opened, spot: FilePlace): Generator<Step> {
    if (around.length >= LEVELS.length) return
    if (tag.name === 'host') yield { kind: 'host', jid: tag.attributes.get('jid') ?? '', ...spot }
    if (tag.name === 'user') yield { kind: 'user', name: tag.attributes.get('name'), password: tag.attributes.get('password'), ...spot }
  }

  /** XEP-0227 §5: an href is a relative path and nothing else. Here it must also stay below the first file's folder. */
  async * #included (
    include: Element, opened: readonly Opened[], spot: FilePlace, depth: number,
  ): AsyncGenerator<Step> {
    const href = attributeOf(include, 'href') ?? ''
    const path = resolve(dirname(spot.file), decoded(href))
    const refused = (text: string): Step => ({ kind: 'refused', text: `${href} is not included: ${text}`, inUser: opened.some(isUser), ...spot })
    if (attributeOf(include, 'parse') !== undefined || attributeOf(include, 'xpointer') !== undefined || href === '' || /^[a-z][a-z0-9+.-]*:|^[/#]/i.test(href)) {
      yield refused('only a relative path is allowed')
    } else if (depth >= DEEPEST) {
      yield refused('the inclusions are nested too deeply')
    } else if (!isBelow(this.#folder, path)) {
      yield refused('there is no such file in the folder of the first file')
    } else {
      this.#measure.whole += sizeOf(path)
      yield * this.file(path, opened, depth + 1)
    }
  }
}

function stepOf (element: Element, opened: readonly Opened[], spot: FilePlace): Step {
  const user = opened.findIndex(isUser)
  if (user >= 0) {
    const container = opened[user + 1]
    return { kind: 'element', element, within: container === undefined ? undefined : { namespace: container.namespace, name: container.name }, ...spot }
  }
  if (opened.length === 0) throw new CommandError(`${spot.file}:${spot.line}: this is not a file of accounts (XEP-0227): it begins with <${localName(element)}/>`)
  return { kind: 'refused', text: `no module imports <${localName(element)} xmlns='${namespaceOf(element) ?? ''}'/>`, inUser: false, ...spot }
}

/** True if the reader goes into this element instead of reading it whole. `around` are the elements it is in. */
function isOpened (around: readonly Opened[], tag: Opened): boolean {
  if (around.length < LEVELS.length) return tag.namespace === NS.PIE && tag.name === LEVELS[around.length]
  return around.length === LEVELS.length && CONTAINERS.has(`${tag.namespace} ${tag.name}`)
}

function isUser (tag: Opened): boolean { return tag.namespace === NS.PIE && tag.name === 'user' }
function isInclude (element: Element): boolean { return namespaceOf(element) === NS.XINCLUDE && localName(element) === 'include' }

/** Decodes an href, which is a URI: `%20` is a space. Text that is not a URI is used unchanged. */
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
    if (error instanceof Error && 'code' in error) return false // the file does not exist
    throw error
  }
}

function sizeOf (file: string): number {
  const found = statSync(file, { throwIfNoEntry: false })
  if (found === undefined) throw new CommandError(`there is no file ${file}`)
  if (!found.isFile()) throw new CommandError(`${basename(file)} is not a file`)
  return found.size
}
