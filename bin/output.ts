/** Standard output and standard error, whose reader may go: a pipe is closed (EPIPE), a terminal is closed (EIO). */
import { closeSync, openSync } from 'node:fs'
import { isatty } from 'node:tty'
import type { LogOutput } from '../lib/base/logger.js'

/** A failed write with one of these will fail again; any other, such as a full disk, may pass. */
const GONE: ReadonlySet<unknown> = new Set(['EPIPE', 'EIO', 'ENXIO', 'EBADF', 'ECONNRESET', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_WRITE_AFTER_END'])

let isServing = false

/** A command whose standard output nobody reads any more ends quietly, with the exit code that it has so far. */
export function endWithReader (): void {
  process.stderr.on('error', () => undefined)
  process.stdout.on('error', error => {
    if (isServing) return
    if (!isGone(error)) throw error
    process.exit()
  })
}

/** Where a server writes its log. From now on broken output does not end the process; after it breaks, lines are dropped. */
export function serverOutput (): LogOutput & { readonly isTTY: boolean } {
  const { stdout } = process
  isServing = true
  let isBroken = false
  const failed = (error: unknown): void => { isBroken ||= isGone(error) }
  stdout.on('error', failed)
  const terminals = [0, 1, 2].filter(fd => isatty(fd))
  process.on('exit', () => { letGo(terminals.filter(fd => !isatty(fd))) })
  return {
    isTTY: stdout.isTTY,
    write (line) {
      if (isBroken) return
      try {
        stdout.write(line)
      } catch (error) {
        failed(error) // a file is written at once, and its errors are thrown
      }
    },
  }
}

/**
 * COMPAT(Node 20 to 26): when it exits, Node restores the modes of the terminals that it was started with, and aborts if one of them has
 * been closed. Node leaves a descriptor alone that leads to another file by then.
 */
function letGo (closed: readonly number[]): void {
  for (const fd of closed) {
    closeSync(fd)
    openSync('/dev/null', 'r+') // takes the lowest free descriptor: the one just closed
  }
}

function isGone (error: unknown): boolean {
  return error instanceof Error && 'code' in error && GONE.has(error.code)
}

/**
 * Watches the terminal that the process was started in. The answer tells whether it has been closed since: a process that standard input
 * did not connect to its controlling terminal, such as a service, has none to lose.
 */
export function watchTerminal (): () => boolean {
  const hadTerminal = isatty(0) && hasTerminal()
  return () => hadTerminal && !hasTerminal()
}

/** tty(4): /dev/tty is the controlling terminal; it cannot be opened without one (ENXIO). */
function hasTerminal (): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'))
    return true
  } catch (error) {
    if (error instanceof Error) return false
    throw error
  }
}
