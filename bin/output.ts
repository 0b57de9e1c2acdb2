/** Standard output and standard error when their reader ends: a closed pipe (EPIPE) or a closed terminal (EIO). */
import { closeSync, openSync } from 'node:fs'
import { isatty } from 'node:tty'
import type { LogOutput } from '../lib/base/logger.js'

/** Error codes of writes that will fail again. Other errors, such as a full disk, may pass. */
const GONE: ReadonlySet<unknown> = new Set(['EPIPE', 'EIO', 'ENXIO', 'EBADF', 'ECONNRESET', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_WRITE_AFTER_END'])

let isServing = false

/** Ends a command quietly, with its current exit code, if nobody reads its standard output any more. */
export function endWithReader (): void {
  process.stderr.on('error', () => undefined)
  process.stdout.on('error', error => {
    if (isServing) return
    if (!isGone(error)) throw error
    process.exit()
  })
}

/**
 * Returns the output for a server's log. From now on, broken output does not end the process; further lines are
 * dropped.
 */
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
        failed(error) // writes to a file are synchronous, and their errors are thrown
      }
    },
  }
}

/**
 * COMPAT(Node 20 to 26): when it exits, Node restores the modes of the terminals it was started with, and aborts if one
 * of them has been closed. Node leaves a descriptor alone if it leads to another file by then.
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
 * Watches the terminal that the process was started in. The returned function is true if that terminal has been closed
 * since. It is always false for a process whose standard input is not its controlling terminal, such as a service.
 */
export function watchTerminal (): () => boolean {
  const hadTerminal = isatty(0) && hasTerminal()
  return () => hadTerminal && !hasTerminal()
}

/** tty(4): /dev/tty is the controlling terminal. Without one, opening it fails (ENXIO). */
function hasTerminal (): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'))
    return true
  } catch (error) {
    if (error instanceof Error) return false
    throw error
  }
}
