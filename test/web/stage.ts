/** The stage of the tests of the web: a listener on a real port, above the stage of client streams. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request, type IncomingHttpHeaders } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Test } from 'tap'
import { WebSocket, type ClientOptions } from 'ws'
import { systemClock } from '../../lib/base/clock.js'
import { silent } from '../../lib/base/logger.js'
import { Ranges } from '../../lib/base/reach.js'
import type { ClientDeps } from '../../lib/c2s/settings.js'
import type { WebRoute } from '../../lib/host/web-routes.js'
import { Certificates } from '../../lib/stream/certificates.js'
import { WebListener, type WebSettings } from '../../lib/web/listener.js'
import { auth, bind, DOMAIN, openFrame, OTHER, PASSWORD, Stage, type StageSettings } from '../c2s/stage.js'
import { temporaryFolder } from '../temporary-folder.js'

export interface Wanted extends StageSettings {
  readonly web?: Partial<WebSettings>
  readonly routes?: readonly WebRoute[]
  /** If given, the listener answers these routes alone. */
  readonly only?: readonly WebRoute[]
  readonly address?: string
  /** True if requests come as a listed proxy passes them on from HTTPS. */
  readonly isProxied?: boolean
  /** The addresses of the web for a domain. */
  readonly origins?: (domain: string) => readonly string[]
}

interface Answer { readonly status: number, readonly headers: IncomingHttpHeaders, readonly body: string }
interface Asking {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

interface Opening extends ClientOptions { readonly path?: string, readonly protocols?: readonly string[] }

export const PLAIN: WebSettings = {
  tls: 'none', proxies: { ranges: new Ranges([]), header: 'x-forwarded-for' }, origins: [],
  stanza: 262_144, rate: 1_000_000,
}

const HERE = { ranges: new Ranges(['127.0.0.1']), header: 'x-forwarded-for' } as const

/** Starts a listener of the web; it is closed when the test ends. Its clock is that of the stage. */
export async function webStage (t: Test, how: Wanted = {}) {
  const s = new Stage(how, new Uint8Array())
  await s.raise()
  for (const route of how.routes ?? []) s.server.routes.add(route)
  const settings: WebSettings = { ...PLAIN, ...how.isProxied === true ? { proxies: HERE } : {}, ...how.web }
  const forwarded = how.isProxied === true ? { 'x-forwarded-for': '198.51.100.9', 'x-forwarded-proto': 'https' } : {}
  const certificates = settings.tls === 'none' ? undefined : await Certificates.open({
    folder: join(temporaryFolder(t, { certificates: {} }), 'certificates'), domains: [DOMAIN, OTHER], clock: systemClock, log: silent,
  })
  const clients: ClientDeps = { ...s.world, ...certificates === undefined ? {} : { certificates } }
  const { clock, server: { routes }, world: { log, ids } } = s
  const hostMeta = { domains: () => [DOMAIN, OTHER], origins: how.origins ?? (() => []) }
  const unique = { next: () => randomBytes(12).toString('hex') + ids.next() }
  const listener = new WebListener(
    { clock, ids: unique, log, clients, routes, hostMeta, ...how.only === undefined ? {} : { only: how.only } },
    settings,
  )
  const port = await listener.listen(how.address ?? '127.0.0.1', 0)
  const lines = new Set<Hearing>()
  t.teardown(async () => {
    for (const line of lines) line.destroy()
    await listener.close()
    await s.server.stop()
    await certificates?.close()
    if (s.clock.timers > 0) throw new Error(`${s.clock.timers} timers are left`)
    const errors = s.lines.filter(({ level, event }) => level === 'error' && !s.expected.includes(event))
    if (errors.length > 0) throw new Error('an unexpected error was logged', { cause: errors[0]?.fields['error'] })
  })
  const line = async (from = '127.0.0.1'): Promise<Line> => {
    const socket = connect({ port, host: '127.0.0.1', localAddress: from })
    const made = new Line(socket)
    lines.add(made)
    await once(socket, 'connect')
    return made
  }
  const webSocket = async ({ path = '/xmpp-websocket', protocols = ['xmpp'], ...more }: Opening = {}): Promise<Frames> => {
    const url = `${settings.tls === 'none' ? 'ws' : 'wss'}://127.0.0.1:${port}${path}`
    const options = { rejectUnauthorized: false, headers: forwarded, ...more }
    const frames = new Frames(new WebSocket(url, [...protocols], options))
    lines.add(frames)
    await frames.opened()
    return frames
  }
  return {
    s, listener, port, line, webSocket, certificates,
    ask: (path: string, asking: Asking = {}) =>
      ask(port, path, { ...asking, headers: { ...forwarded, ...asking.headers } }),
  }
}

/** Sends one request on a connection of its own. */
async function ask (port: number, path: string, { method = 'GET', headers = {}, body }: Asking): Promise<Answer> {
  return await new Promise((resolve, reject) => {
    const asked = request({ port, host: '127.0.0.1', path, method, headers, agent: false }, response => {
      let text = ''
      response.setEncoding('utf8').on('data', (piece: string) => { text += piece })
      response.on('end', () => { resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }) })
      response.on('error', reject)
    })
    asked.on('error', reject)
    asked.end(body)
  })
}

/** Waits until something is so. */
export async function until (isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise(resolve => { setImmediate(resolve) })
}

/** Keeps what comes, and lets a test wait for it. */
abstract class Hearing {
  heard = ''
  isClosed = false
  woken = (): void => {}

  abstract destroy (): void

  hears (text: string): void {
    this.heard += text
    this.woken()
  }

  closes (): void {
    this.isClosed = true
    this.woken()
  }

  /** Waits until the received text matches. Returns all of it and forgets it. */
  async gets (wanted: RegExp): Promise<string> {
    while (!wanted.test(this.heard)) {
      if (this.isClosed) throw new Error(`closed without ${String(wanted)}: ${this.heard}`)
      await new Promise<void>(resolve => { this.woken = resolve })
    }
    const { heard } = this
    this.heard = ''
    return heard
  }

  async end (): Promise<string> {
    while (!this.isClosed) await new Promise<void>(resolve => { this.woken = resolve })
    return this.heard
  }
}

/** A connection of octets. */
export class Line extends Hearing {
  readonly socket: Socket

  constructor (socket: Socket) {
    super()
    this.socket = socket
    socket.on('error', () => {})
    socket.on('data', piece => { this.hears(piece.toString()) })
    socket.on('close', () => { this.closes() })
  }

  says (text: string): void { this.socket.write(text) }
  override destroy (): void { this.socket.destroy() }
}

/** A WebSocket of a client. */
export class Frames extends Hearing {
  readonly web: WebSocket
  readonly frames: string[] = []
  code: number | undefined
  status: number | undefined
  pongs = 0

  constructor (socket: WebSocket) {
    super()
    this.web = socket
    socket.on('error', () => {})
    socket.on('unexpected-response', (_request, response) => {
      this.status = response.statusCode
      response.destroy()
      this.closes()
    })
    socket.on('message', (message: Buffer) => {
      this.frames.push(message.toString())
      this.hears(message.toString())
    })
    socket.on('pong', () => { this.pongs++; this.woken() })
    socket.on('open', () => { this.woken() })
    socket.on('close', code => {
      this.code = code
      this.closes()
    })
  }

  async opened (): Promise<void> {
    while (this.web.readyState === WebSocket.CONNECTING && !this.isClosed) {
      await new Promise<void>(resolve => { this.woken = resolve })
    }
  }

  says (text: string): void { this.web.send(text) }
  override destroy (): void { this.web.terminate() }

  async logsIn (account = 'romeo', resource = 'orchard'): Promise<void> {
    this.says(openFrame())
    await this.gets(/<stream:features.*<\/stream:features>/)
    this.says(auth('PLAIN', `\0${account}\0${PASSWORD}`))
    await this.gets(/<success/)
    this.says(openFrame())
    this.says(bind(resource).replace('<iq ', "<iq xmlns='jabber:client' "))
    await this.gets(/<\/iq>/)
  }
}
