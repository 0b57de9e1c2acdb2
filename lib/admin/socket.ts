/** The local socket that the command speaks to: one question, one answer, a line of JSON each. Only its owner may open it. */
import { chmodSync, closeSync, openSync, rmSync } from 'node:fs'
import { createConnection, createServer, type Server as NetServer, type Socket } from 'node:net'
import { basename, dirname } from 'node:path'
import { answer, CommandError, type AdminWorld, type Question } from './commands.js'
import type { Logger } from '../base/logger.js'

/** Bytes of a question: a password, and a name. */
const LONGEST = 64 * 1024

interface Reply { readonly result?: unknown, readonly error?: string }

/** Answers questions at this path until it is closed. A path that a dead server left is taken over. */
export async function serveAdmin (path: string, world: AdminWorld, log: Logger): Promise<{ close (): Promise<void> }> {
  rmSync(path, { force: true })
  const open = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, socket => {
    open.add(socket)
    socket.on('close', () => { open.delete(socket) })
    socket.on('error', () => { socket.destroy() })
    converse(socket, world, log)
  })
  const near = nearby(path)
  try {
    await listen(server, near.path)
  } finally {
    near.close()
  }
  chmodSync(path, 0o600)
  return {
    close: () => new Promise(resolve => {
      server.close(() => { resolve() })
      for (const socket of open) socket.end()
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

function converse (socket: Socket, world: AdminWorld, log: Logger): void {
  let text = ''
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    text += chunk
    if (text.length > LONGEST) socket.destroy()
  })
  socket.on('end', () => {
    void reply(text, world, log).then(said => { socket.end(JSON.stringify(said)) })
  })
}

async function reply (text: string, world: AdminWorld, log: Logger): Promise<Reply> {
  try {
    const question = questionIn(text)
    log.info('asked', { command: question.command })
    return { result: await answer(world, question) ?? null }
  } catch (error) {
    if (error instanceof Error && (error instanceof CommandError || error.name === 'ConfigProblems')) return { error: error.message }
    log.error('command failed', { error })
    return { error: error instanceof Error ? error.message : 'failed' }
  }
}

function questionIn (text: string): Question {
  const read: unknown = JSON.parse(text)
  if (!isQuestion(read)) throw new CommandError('not a question')
  return read
}

function isQuestion (value: unknown): value is Question {
  return typeof value === 'object' && value !== null && 'command' in value && typeof value.command === 'string' &&
    'args' in value && Array.isArray(value.args) && value.args.every(arg => typeof arg === 'string') &&
    (!('input' in value) || typeof value.input === 'string')
}

/** Asks the server at this path. undefined: nobody is there. Throws CommandError with its refusal. */
export function askAdmin (path: string, question: Question): Promise<{ readonly result: unknown } | undefined> {
  return new Promise((resolve, reject) => {
    const near = folderOf(path)
    if (near === undefined) {
      resolve(undefined)
      return
    }
    const socket = createConnection({ path: near.path, allowHalfOpen: true })
    socket.on('close', () => { near.close() })
    let text = ''
    socket.setEncoding('utf8')
    socket.on('connect', () => { socket.end(JSON.stringify(question)) })
    socket.on('data', (chunk: string) => { text += chunk })
    socket.on('error', () => { resolve(undefined) })
    socket.on('end', () => {
      const said = replyIn(text)
      if (said.error === undefined) resolve({ result: said.result })
      else reject(new CommandError(said.error))
    })
  })
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

function replyIn (text: string): Reply {
  const read: unknown = JSON.parse(text)
  return typeof read === 'object' && read !== null ? read : { error: 'no answer' }
}
