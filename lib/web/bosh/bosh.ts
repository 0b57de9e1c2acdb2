/** The sessions of BOSH (XEP-0124), and the route that takes their requests. */
import type { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import type { Clock } from '../../base/clock.js'
import type { Ids } from '../../base/ids.js'
import type { ClientListener } from '../../c2s/listener.js'
import type { Framing, Reader } from '../../stream/framing.js'
import type { WebAnswer, WebRequest, WebRoute } from '../../host/web-routes.js'
import { XmlError } from '../../xml/parser.js'
import type { Caller } from '../caller.js'
import { boshFraming } from './framing.js'
import { readHead, type Head } from './head.js'
import { BoshTransport, wrapped } from './transport.js'
import type { Asked } from './window.js'

export interface BoshDeps {
  readonly clock: Clock
  readonly ids: Ids
  readonly clients: ClientListener
  /** The size of the largest stanza, in bytes. */
  readonly stanza: number
  /** Returns the size of the largest stanza before login, in bytes. */
  readonly unproven: () => number
}

interface Session {
  /** Returns the bytes that a stanza may have now. */
  readonly longest: () => number
  readonly transport: BoshTransport
  readonly isSecure: boolean
  readonly contentType: string
  /** True if the client understands only the codes of HTTP (XEP-0124 §17.1). */
  readonly isLegacy: boolean
}

/** The path of BOSH, under which other servers have theirs as well. */
export const BOSH_PATH = '/http-bind'
/** The bytes of a body besides one stanza of the largest size. */
const MARGIN = 16 * 1024
/** The bytes after which a long body is judged: no start tag is longer. */
const START = 4096
const CONTENT_TYPE = 'text/xml; charset=utf-8'
/** §7.1: what a client may ask for as the type of its responses. None of them lets a script run. */
const CONTENT_TYPES = /^(?:text\/xml|text\/plain|application\/xml)(?:; ?charset=utf-8)?$/i
/** The codes of HTTP for clients that know no conditions. */
const LEGACY: Readonly<Record<string, number>> = { 'bad-request': 400, 'policy-violation': 403, 'item-not-found': 404 }

export class Bosh {
  readonly #deps: BoshDeps
  readonly #sessions = new Map<string, Session>()

  constructor (deps: BoshDeps) { this.#deps = deps }

  /** `callerOf`: as the listener sees the client. */
  route (callerOf: (request: WebRequest) => Caller): WebRoute {
    return {
      method: 'POST',
      path: BOSH_PATH,
      callers: 'anybody', // a session logs in by itself
      crossOrigin: { headers: ['content-type'] },
      largestBody: this.#deps.stanza + MARGIN,
      answer: request => this.#answer(request, callerOf(request)),
    }
  }

  /** Forgets the sessions that have ended. */
  close (): void {
    for (const { transport } of this.#sessions.values()) transport.forget()
    this.#sessions.clear()
  }

  async #answer (request: WebRequest, caller: Caller): Promise<WebAnswer> {
    const encoding = request.header('content-encoding') ?? 'identity'
    if (encoding !== 'identity') return { status: 415 }
    const body = await bytesOf(request.body, start => this.#mayBeLong(start, Number(request.header('content-length'))))
    if (body === undefined) return over('policy-violation')
    let head: Head
    try {
      head = readHead(body)
    } catch (error) {
      if (error instanceof XmlError) return over('bad-request')
      throw error
    }
    const session = head.sid === undefined ? this.#create(head, caller) : this.#sessions.get(head.sid)
    if (session === undefined) return over('item-not-found')
    if (session === 'refused') return over('policy-violation')
    // §18.1: a session that began within TLS goes on within TLS
    if (session.isSecure && !caller.isSecure) return over('item-not-found')
    return answered(session, await this.#response(session.transport, head, body, request))
  }

  /** True if the rest of a body may follow. One from a client that has not logged in is far shorter than others. */
  #mayBeLong (start: Uint8Array, length: number): boolean {
    const { unproven } = this.#deps
    if (length <= unproven() + MARGIN) return true
    try {
      const session = this.#sessions.get(readHead(start).sid ?? '')
      return session !== undefined && length <= session.longest() + MARGIN
    } catch (error) {
      if (error instanceof XmlError) return false
      throw error
    }
  }

  #create (first: Head, caller: Caller): Session | 'refused' {
    const { clock, ids, clients, unproven } = this.#deps
    if (!clients.admits(caller.address)) return 'refused'
    const sid = ids.next()
    const forgotten = (): void => { this.#sessions.delete(sid) }
    const transport = new BoshTransport({ clock, caller, sid, first, forgotten })
    const { content = CONTENT_TYPE } = first
    let reader: Reader | undefined
    const session: Session = {
      transport,
      longest: () => reader?.limits.bytes ?? unproven(),
      isSecure: caller.isSecure,
      contentType: CONTENT_TYPES.test(content) ? content : CONTENT_TYPE,
      isLegacy: first.version === undefined,
    }
    this.#sessions.set(sid, session)
    const framing = boshFraming(own => { transport.opened(own) })
    const reading: Framing['reader'] = (how, handlers) => {
      reader = framing.reader(how, handlers)
      return reader
    }
    clients.accept({ transport, framing: { ...framing, reader: reading }, tls: caller.isSecure ? 'none' : 'required' })
    return session
  }

  /** Resolves with the response to a request, when it is due. */
  #response (transport: BoshTransport, head: Head, body: Uint8Array, { lost }: WebRequest): Promise<string> {
    return new Promise(resolve => {
      let isGone = false
      const asked: Asked = { head, body, at: this.#deps.clock.now(), get isGone () { return isGone }, answer: resolve }
      lost(() => {
        isGone = true
        transport.gone()
      })
      transport.request(asked)
    })
  }
}

/**
 * Reads a whole body, whose length the listener has bounded. `mayGoOn` is asked once with its beginning, if it is long;
 * if it says no, the rest is not read, and the result is undefined.
 */
function bytesOf (body: Readable, mayGoOn: (start: Uint8Array) => boolean): Promise<Uint8Array | undefined> {
  return new Promise((resolve, reject) => {
    const pieces: Uint8Array[] = []
    let bytes = 0
    const take = (piece: Uint8Array): void => {
      const isDecided = bytes >= START
      pieces.push(piece)
      bytes += piece.length
      if (isDecided || bytes < START || mayGoOn(Buffer.concat(pieces))) return
      body.off('data', take).pause()
      resolve(undefined)
    }
    body.on('data', take)
    finished(body).then(() => { resolve(Buffer.concat(pieces)) }, reject)
  })
}

function over (condition: string): WebAnswer {
  return { status: 200, headers: { 'content-type': CONTENT_TYPE }, body: wrapped({ type: 'terminate', condition }) }
}

function answered ({ contentType, isLegacy }: Session, octets: string): WebAnswer {
  const condition = /^<body [^>]*type="terminate" condition="([a-z-]+)"/.exec(octets)?.[1]
  const status = isLegacy && condition !== undefined ? LEGACY[condition] ?? 200 : 200
  return { status, headers: { 'content-type': contentType }, body: Buffer.from(octets, 'latin1') }
}
