/**
 * The local socket that the command speaks to. One question, a line of JSON; then lines of what happens meanwhile, and the answer as the
 * last. Only its owner may open it.
 */
import { chmodSync, closeSync, mkdirSync, openSync, rmSync } from 'node:fs'
import { createConnection, createServer, type Server as NetServer, type Socket } from 'node:net'
import { basename, dirname } from 'node:path'
import { answer, type AdminWorld, type Question } from './commands.js'
import { CommandError, type Talk, type Told } from './talk.js'
import type { Logger } from '../base/logger.js'

/** Characters of a question: a password and names, or a list of some ten thousand accounts. */
const LONGEST = 16 * 1024 * 1024

/** While a command is under way, the server sends an empty line this often, in milliseconds: the asker knows then that it is alive. */
const BEAT = 5000
/** After this many milliseconds without a byte the asker gives the server up. */
const SILENCE = 30_000

interface Reply { readonly result?: unknown, readonly error?: string, readonly told?: Told }

export interface AdminSocket {
  /** Takes no more questions; resolves once those under way are answered. */
  close (): Promise<void>
}

/** Answers questions at this path until it is closed. A path that a dead server left is taken over. Throws where another answers there. */
export async function serveAdmin (path: string, world: AdminWorld, log: Logger): Promise<AdminSocket> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  if (await isAnswered(path)) throw new Error(`another server answers at ${path}`)
  rmSync(path, { force: true })
  const open = new Map<Socket, boolean>()
  const server = createServer({ allowHalfOpen: true }, socket => {
    open.set(socket, false)
    socket.on('close', () => { open.delete(socket) })
    socket.on('error', () => { socket.destroy() })
    converse(socket, world, log, () => { open.set(socket, true) })
  })
  const near = nearby(path)
  // Made for its owner alone from the first moment on: between its making and a later change of its mode others could open it.
  const mask = process.umask(0o177)
  try {
    const listening = listen(server, near.path)
    process.umask(mask)
    await listening
  } finally {
    process.umask(mask)
    near.close()
  }
  chmodSync(path, 0o600)
  return {
    close: () => new Promise(resolve => {
      server.close(() => { resolve() })
      for (const [socket, isAsking] of open) if (!isAsking) socket.destroy()
    }),
  }
}

/** The kernel takes paths of 107 bytes at most: a longer one is reached through its folder. */
const LONGEST_PATH = 100

function nearby (path: string): { readonly path: string, close (): void } {
  if (Buffer.byteLength(path) <= LONGEST_PATH) return { path, close () {} }
  const folder = openSync(dirname(path), 'r')
  return { path: `/proc/self/fd/${folder}/${basename(path)}`, close: () => { closeSync(folder) } }
}

function listen (server: NetServer, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function isAnswered (path: string): Promise<boolean> {
  const near = nearby(path)
  return new Promise(resolve => {
    const socket = createConnection({ path: near.path })
    socket.on('close', () => { near.close() })
    socket.on('connect', () => { resolve(true); socket.destroy() })
    socket.on('error', () => { resolve(false) })
  })
}

function converse (socket: Socket, world: AdminWorld, log: Logger, asked: () => void): void {
  let text = ''
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    text += chunk
    if (text.length > LONGEST) socket.destroy()
  })
  socket.on('end', () => {
    asked()
    const beat = world.server.clock.every(BEAT, () => { if (socket.writableLength === 0) socket.write('\n') })
    void reply(text, world, log, talkOver(socket)).then(said => {
      beat.cancel()
      socket.end(lineOf(said))
    })
  })
}

function lineOf (reply: Reply): string { return `${JSON.stringify(reply)}\n` }

function talkOver (socket: Socket): Talk {
  return {
    get gone () { return socket.destroyed },
    tell: async told => {
      if (socket.destroyed || socket.write(lineOf({ told }))) return
      await new Promise<void>(resolve => {
        const go = (): void => {
          socket.off('drain', go).off('close', go)
          resolve()
        }
        socket.on('drain', go).on('close', go)
      })
    },
  }
}

async function reply (text: string, world: AdminWorld, log: Logger, talk: Talk): Promise<Reply> {
  try {
    const question = questionIn(text)
    log.info('asked', { command: question.command })
    return { result: await answer(world, question, talk) ?? null }
  } catch (error) {
    if (error instanceof Error && (error instanceof CommandError || error.name === 'ConfigProblems')) return { error: error.message }
    log.error('command failed', { error })
    return { error: error instanceof Error ? error.message : 'failed' }
  }
}

function questionIn (text: string): Question {
  const read = readJson(text)
  if (!isQuestion(read)) throw new CommandError('not a question')
  return read
}

function isQuestion (value: unknown): value is Question {
  return typeof value === 'object' && value !== null && 'command' in value && typeof value.command === 'string' &&
    'args' in value && Array.isArray(value.args) && value.args.every(arg => typeof arg === 'string') &&
    (!('input' in value) || typeof value.input === 'string')
}

export interface Answered { readonly result: unknown }

/**
 * Asks the server at this path. undefined: nobody is there. `heard` is called for what happens meanwhile. Throws CommandError with its
 * refusal, where it may not be asked, and after `silence` milliseconds without a byte.
 */
export function askAdmin (
  path: string, question: Question, heard: (told: Told) => void = () => {}, silence = SILENCE,
): Promise<Answered | undefined> {
  return new Promise((resolve, reject) => {
    const near = folderOf(path)
    if (near === undefined) {
      resolve(undefined)
      return
    }
    const socket = createConnection({ path: near.path, allowHalfOpen: true })
    const lines = linesOf(reply => {
      if (reply.told !== undefined) heard(reply.told)
      else if (reply.error === undefined) resolve({ result: reply.result })
      else reject(new CommandError(reply.error))
    })
    socket.setEncoding('utf8')
    socket.on('connect', () => { socket.end(JSON.stringify(question)) })
    socket.on('data', (chunk: string) => { lines(chunk) })
    socket.on('error', error => {
      if (isNobody(error)) resolve(undefined)
      else reject(new CommandError(`the server cannot be asked: ${error.message}`, { cause: error }))
    })
    socket.setTimeout(silence, () => {
      reject(new CommandError(`the server has not said a word for ${silence / 1000} s: it hangs, or it is stopped; what was asked may still happen`))
      socket.destroy()
    })
    socket.on('close', () => {
      near.close()
      reject(new CommandError('the server ended before it had answered'))
    })
    socket.on('end', () => { socket.destroy() })
  })
}

/** No socket, or one that a dead server has left. */
function isNobody (error: Error): boolean {
  return 'code' in error && (error.code === 'ENOENT' || error.code === 'ECONNREFUSED')
}

function linesOf (heard: (reply: Reply) => void): (chunk: string) => void {
  let text = ''
  return chunk => {
    const lines = chunk.split('\n')
    for (const [index, line] of lines.entries()) {
      text += line
      if (index === lines.length - 1) return
      const read = readJson(text)
      const isBeat = text === ''
      text = ''
      if (isBeat) continue
      heard(isReply(read) ? read : { error: 'the server spoke in riddles' })
    }
  }
}

/** What comes from our own server by its owner's socket: whatever is an object. */
function isReply (value: unknown): value is Reply {
  return typeof value === 'object' && value !== null
}

function readJson (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/** undefined: not even the folder is there. */
function folderOf (path: string): ReturnType<typeof nearby> | undefined {
  try {
    return nearby(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}
