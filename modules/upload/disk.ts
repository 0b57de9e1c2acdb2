/** Files in a folder: one folder for each owner, and one for what is still coming. */
import { createWriteStream } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import send from '@fastify/send'
import type { WebAnswer } from '../../lib/api.js'
import type { FilePlace, Files, Received, Wanted } from './files.js'

/** The request headers that choose a part of a file, or make the answer depend on what the client has. */
const CHOOSING = [
  'range', 'if-range', 'if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'cache-control',
]
/** The headers of an answer that say what it has. */
const TOLD = ['accept-ranges', 'content-length', 'content-range', 'etag', 'last-modified']
/** Only the server's own user may look at what people send. */
const FOLDER_MODE = 0o700
const FILE_MODE = 0o600

export class Disk implements Files {
  readonly #root: string
  readonly #coming: string
  #count = 0

  /** `root`: the folder. It is made when the first file comes. */
  constructor (root: string) {
    this.#root = root
    this.#coming = join(root, 'coming')
  }

  async begin (): Promise<void> { await rm(this.#coming, { recursive: true, force: true }) }

  async receive (place: FilePlace, body: Readable, stop: AbortSignal): Promise<Received> {
    await mkdir(this.#coming, { recursive: true, mode: FOLDER_MODE })
    const part = join(this.#coming, `${place.id}.${++this.#count}`)
    const drop = (): Promise<void> => rm(part, { force: true })
    try {
      await pipeline(body, createWriteStream(part, { flags: 'wx', mode: FILE_MODE, flush: true }), { signal: stop })
    } catch (error) {
      await drop()
      throw error
    }
    return { drop, keep: () => this.#keep(part, place) }
  }

  async #keep (part: string, { folder, id }: FilePlace): Promise<void> {
    const home = join(this.#root, folder)
    const isNew = await mkdir(home, { recursive: true, mode: FOLDER_MODE }) !== undefined
    await rename(part, join(home, id))
    // A name is on the disk when its folder is.
    await synced(home)
    if (isNew) await synced(this.#root)
  }

  async answer ({ folder, id }: FilePlace, { isHead, header }: Wanted): Promise<WebAnswer> {
    const given = CHOOSING.flatMap(name => {
      const value = header(name)
      return value === undefined ? [] : [[name, value] as const]
    })
    const request = Object.assign(Readable.from([]), {
      method: isHead ? 'HEAD' : 'GET', headers: Object.fromEntries(given),
    })
    const { statusCode: status, headers, stream, type } = await send(request, `/${folder}/${id}`, {
      root: this.#root, cacheControl: false, contentType: false, index: false, dotfiles: 'deny',
    })
    const told = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value] as const)
      .filter(([name]) => TOLD.includes(name)))
    if (type === 'file') return { status, headers: told, body: stream }
    const range = told['content-range']
    return { status, ...range === undefined ? {} : { headers: { 'content-range': range } } }
  }

  async remove ({ folder, id }: FilePlace): Promise<void> { await rm(join(this.#root, folder, id), { force: true }) }

  async removeAll (folder: string): Promise<void> {
    await rm(join(this.#root, folder), { recursive: true, force: true })
  }
}

async function synced (folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
