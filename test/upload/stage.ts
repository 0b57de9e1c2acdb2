/** A stage for uploads: a service at upload.capulet.lit, whose routes answer on a real connection. */
import { createServer, request, type IncomingHttpHeaders } from 'node:http'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { Test } from 'tap'
import { attributeOf, child, children, textOf, type Element } from '../../lib/xml/element.js'
import { NS } from '../../lib/xml/namespaces.js'
import { WebApp } from '../../lib/web/app.js'
import { ownerOf, uploadStores } from '../../modules/upload/uploads.js'
import type { Device, Scene } from '../scenario.js'
import { scenario } from '../scenario.js'
import { temporaryFolder } from '../temporary-folder.js'

export const SERVICE = 'upload.capulet.lit'
export const ORIGIN = `https://${SERVICE}`

export interface Slot { readonly put: string, readonly get: string, readonly headers: Readonly<Record<string, string>> }
export interface Heard { readonly status: number, readonly headers: IncomingHttpHeaders, readonly body: string }
interface Asking {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | Readable
}
interface Wanted {
  readonly settings?: Readonly<Record<string, unknown>>
  readonly scene?: Scene
  readonly origins?: readonly string[]
  /** A folder of a former stage. */
  readonly folder?: string
}
export type UploadStage = Awaited<ReturnType<typeof uploadStage>>

/** Starts a server with the service. It ends with the test. */
export async function uploadStage (
  t: Test, { settings = {}, scene = {}, origins = [], folder = temporaryFolder(t) }: Wanted = {},
) {
  const s = await scenario(t, {
    modules: ['presence', 'message', 'disco'],
    services: { [SERVICE]: ['disco', 'upload'] },
    ...scene,
    settings: { ...scene.settings, upload: { folder, url: ORIGIN, ...settings } },
  })
  const app = new WebApp({
    log: s.log, routes: [s.server.routes], origins, callerOf: () => ({ address: '192.0.2.1', isSecure: true, tls: undefined }),
  })
  const http = createServer((asked, response) => { app.handle(asked, response) })
  await new Promise<void>(resolve => { http.listen(0, '127.0.0.1', resolve) })
  await app.ready()
  t.teardown(async () => {
    app.end()
    http.closeAllConnections()
    await new Promise(resolve => { http.close(resolve) })
  })
  const address = http.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const ask = (url: string, asking: Asking = {}): Promise<Heard> => askAt(port, url.replace(ORIGIN, ''), asking)
  return {
    s, app, folder, port, ask, slot,
    /** Sends a file to its slot. */
    put: (slot: Slot, body: string | Uint8Array, headers: Readonly<Record<string, string>> = {}) =>
      ask(slot.put, { method: 'PUT', headers: { ...slot.headers, ...headers }, body }),
    /** The names of the files in the folder, without their folders. */
    files: (): readonly string[] => filesIn(join(folder, SERVICE)),
  }
}

/** Asks for a slot, and returns it. Throws the condition if there is none. */
export async function slot (device: Device, size: number, name = 'a.txt', more = '', inner = ''): Promise<Slot> {
  const answer = await asksForSlot(device, size, name, more, inner)
  const found = child(answer, NS.UPLOAD, 'slot')
  const [put, get] = ['put', 'get'].map(part => found === undefined ? undefined : child(found, NS.UPLOAD, part))
  if (put === undefined || get === undefined) throw new Error(`no slot: ${answer.toString()}`)
  const headers = children(put, NS.UPLOAD, 'header').map(header => [attributeOf(header, 'name') ?? '', textOf(header)] as const)
  return { put: attributeOf(put, 'url') ?? '', get: attributeOf(get, 'url') ?? '', headers: Object.fromEntries(headers) }
}

/** Asks for a slot, and returns the answer as it is. */
export function asksForSlot (device: Device, size: number | string, name = 'a.txt', more = '', inner = ''): Promise<Element> {
  return device.asks(`<iq type='get' to='${SERVICE}' id='slot'><request xmlns='${NS.UPLOAD}' filename='${name}' size='${size}' ${more}>${inner}</request></iq>`)
}

async function askAt (port: number, path: string, { method = 'GET', headers = {}, body }: Asking): Promise<Heard> {
  return await new Promise((resolve, reject) => {
    const asked = request({ port, host: '127.0.0.1', path, method, headers: lengthOf(body, headers), agent: false }, response => {
      const pieces: Buffer[] = []
      response.on('data', (piece: Buffer) => { pieces.push(piece) })
      response.on('end', () => { resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(pieces).toString('latin1') }) })
      response.on('error', reject)
    })
    asked.on('error', reject)
    if (body === undefined || typeof body === 'string' || body instanceof Uint8Array) asked.end(body)
    else body.pipe(asked)
  })
}

function lengthOf (body: Asking['body'], headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const isWhole = typeof body === 'string' || body instanceof Uint8Array
  return isWhole ? { 'content-length': String(Buffer.byteLength(body)), ...headers } : headers
}

function filesIn (folder: string): readonly string[] {
  try {
    const entries = readdirSync(folder, { recursive: true, withFileTypes: true })
    return entries.filter(entry => entry.isFile()).map(({ name }) => name)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw error
  }
}

/** Waits until something is so: the disk has a time of its own. */
export async function until (isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise(resolve => { setImmediate(resolve) })
}

/** Returns the number of slots and files that the service has of an account. */
export async function rowsOf ({ s }: Pick<UploadStage, 's'>, account: string): Promise<number> {
  const uploads = await s.storage.open('upload.uploads', uploadStores.uploads)
  return await uploads.count({ owner: ownerOf(account, SERVICE) })
}
