/**
 * The local socket of the server. The command sends one question in JSON and ends its side. The server sends lines of
 * JSON: reports of progress, and the answer as the last line. Only the owner of the socket may open it.
 */
import { chmodSync, closeSync, mkdirSync, openSync, rmSync } from 'node:fs'
import { createConnection, createServer, type Server as NetServer, type Socket } from 'node:net'
import { basename, dirname } from 'node:path'
import { runCommand, type CommandRequest } from './commands.js'
import type { AdminDeps } from './world.js'
import { CommandError, type Operator, type Report } from './talk.js'
import type { Clock } from '../base/clock.js'
import type { Logger } from '../base/logger.js'

/** The most characters of a question: a password and names, or a list of several tens of thousands of accounts. */
const LONGEST = 16 * 1024 * 1024

/** While a command runs, the server sends an empty line this often (in milliseconds), to show that it is alive. */
const HEARTBEAT = 5000
/** After this many milliseconds without a byte, the command stops waiting for the server. */
const RESPONSE_TIMEOUT = 30_000

/** While the server stops, a command that has read nothing for this many milliseconds is given up. */
const STALLED = 10_000

interface Reply { readonly result?: unknown, readonly error?: string, readonly told?: Report }

/** The socket of a running server. */
export interface AdminSocket {
  /** Accepts no more questions; resolves after those under way are answered. */
  close (): Promise<void>
}

/**
 * Answers questions at this path until it is closed. Replaces a socket that a dead server has left. Throws if another
 * server answers there.
 */
export async function serveAdmin (path: string, world: AdminDeps, log: Logger): Promise<AdminSocket> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  if (await isAnswered(path)) throw new Error(`another server already answers at ${path}`)
  rmSync(path, { force: true })
  const open = new Map<Socket, boolean>()
  const server = createServer({ allowHalfOpen: true }, socket => {
    open.set(socket, false)
    socket.on('close', () => { open.delete(socket) })
    socket.on('error', () => { socket.destroy() })
    serveConnection(socket, world, log, () => { open.set(socket, true) })
  })
  const near = nearby(path)
  // The mask makes the socket private from its first moment; before a later chmod, others could open it.
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
      for (const [socket, isAsking] of open) {
        if (isAsking) giveUpStalled(socket, world.server.clock)
        else socket.destroy()
      }
    }),
  }
}

/** Closes a connection whose other side reads nothing for STALLED, although something waits for it. */
function giveUpStalled (socket: Socket, clock: Clock): void {
  const read = (): number => socket.bytesWritten - socket.writableLength
  let before = read()
  const timer = clock.every(STALLED, () => {
    if (socket.writableLength > 0 && read() === before) socket.destroy()
    before = read()
  })
  socket.on('close', () => { timer.cancel() })
}

/** The kernel accepts socket paths of at most 107 bytes. A longer path is reached through its folder. */
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

function serveConnection (socket: Socket, world: AdminDeps, log: Logger, asked: () => void): void {
  let text = ''
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    text += chunk
    if (text.length > LONGEST) socket.destroy()
  })
  socket.on('end', () => {
    asked()
    const beat = world.server.clock.every(HEARTBEAT, () => { if (socket.writableLength === 0) socket.write('\n') })
    void reply(text, world, log, talkOver(socket)).then(said => {
      beat.cancel()
      socket.end(lineOf(said))
    })
  })
}

function lineOf (reply: Reply): string { return `${JSON.stringify(reply)}\n` }

function talkOver (socket: Socket): Operator {
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

async function reply (text: string, world: AdminDeps, log: Logger, talk: Operator): Promise<Reply> {
  try {
    const question = questionIn(text)
    log.info('command received', { command: question.command })
    return { result: await runCommand(world, question, talk) ?? null }
  } catch (error) {
    if (error instanceof Error && (error instanceof CommandError || error.name === 'ConfigProblems')) return { error: error.message }
    log.error('command failed', { error })
    return { error: error instanceof Error ? error.message : 'the command failed' }
  }
}

function questionIn (text: string): CommandRequest {
  const read = readJson(text)
  if (!isQuestion(read)) throw new CommandError('this is not a valid question')
  return read
}

function isQuestion (value: unknown): value is CommandRequest {
  return typeof value === 'object' && value !== null && 'command' in value && typeof value.command === 'string' &&
    'args' in value && Array.isArray(value.args) && value.args.every(arg => typeof arg === 'string') &&
    (!('input' in value) || typeof value.input === 'string')
}

export interface Answered { readonly result: unknown }

/**
 * Asks the server at this path. Returns undefined if no server listens there. Calls `heard` for each report of
 * progress. Throws CommandError if the server refuses, if this user may not open the socket, if the server ends before
 * its answer, and after `silence` milliseconds without a byte.
 */
export function askAdmin (
  path: string, question: CommandRequest, heard: (told: Report) => void = () => {}, silence = RESPONSE_TIMEOUT,
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
      else reject(new CommandError(`the server cannot be reached: ${error.message}`, { cause: error }))
    })
    whenSilent(socket, silence, () => {
      reject(new CommandError(`the server has sent nothing for ${silence / 1000} s: it hangs or is suspended; the command may still take effect`))
      socket.destroy()
    })
    socket.on('close', () => {
      near.close()
      reject(new CommandError('the server ended before it answered'))
    })
    socket.on('end', () => { socket.destroy() })
  })
}

/** Runs `run` after `ms` milliseconds without a byte, unless bytes wait to be read because this process was busy. */
function whenSilent (socket: Socket, ms: number, run: () => void): void {
  socket.setTimeout(ms, () => {
    const { bytesRead } = socket
    setImmediate(() => { if (socket.bytesRead === bytesRead) run() })
  })
}

/** True if there is no socket, or only one that a dead server has left. */
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
      heard(isReply(read) ? read : { error: 'the answer of the server cannot be read' })
    }
  }
}

/**
 * Only checks that the value is an object: it comes from our own server, over a socket that only its owner can open.
 */
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

/** Returns undefined if not even the folder exists. */
function folderOf (path: string): ReturnType<typeof nearby> | undefined {
  try {
    return nearby(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}
