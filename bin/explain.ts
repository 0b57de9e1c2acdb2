/** Explains errors that an operator may get at a start, and says what to do. */
import { finderOf } from '../lib/admin/probe.js'

/** Texts for errors of listening, by their codes. */
const LISTENING: Readonly<Record<string, (error: Error) => string>> = {
  EADDRINUSE: error => {
    const port = fieldOf(error, 'port') ?? ''
    return `port ${port} on ${fieldOf(error, 'address') ?? ''} is in use by another program (find it: ${finderOf(port)}): ` +
      'stop it, or set another port at [[listen]] in the conf file'
  },
  EACCES: error => `this user may not listen on port ${fieldOf(error, 'port') ?? ''}: ` +
    'ports below 1024 need CAP_NET_BIND_SERVICE; or set another port at [[listen]] in the conf file',
  EADDRNOTAVAIL: error => `this machine does not have the address ${fieldOf(error, 'address') ?? ''}: ` +
    'set another address at [[listen]] in the conf file',
}

/** Codes of errors that mean that this user may not use a file or folder. */
const FORBIDDEN: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS'])

/** Returns the text for an error that the operator reads. */
export function explain (error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const [code = '', path] = [fieldOf(error, 'code'), fieldOf(error, 'path')]
  const listening = fieldOf(error, 'syscall') === 'listen' ? LISTENING[code] : undefined
  if (listening !== undefined) return listening(error)
  if (path !== undefined && FORBIDDEN.has(code)) {
    return `no permission to write or read ${path} (${code}): it must belong to the user who runs the server`
  }
  if (code === 'ENOSPC') return `the disk is full${path === undefined ? '' : `: ${path} could not be written`}`
  return error.message
}

/** Returns a field that Node adds to errors of system calls, as text. */
function fieldOf (error: Error, name: string): string | undefined {
  const value: unknown = Object.getOwnPropertyDescriptor(error, name)?.value
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined
}
