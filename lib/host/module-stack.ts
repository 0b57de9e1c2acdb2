/** Shows an operator an error in the code of a module: the message, and where in that code it was thrown. */
import { join } from 'node:path'
import { PACKAGE_ROOT } from '../base/package.js'

/** The folders of the server's own code in stacks, with source maps and without. */
const OURS = ['lib', join('dist', 'lib')].map(folder => join(PACKAGE_ROOT, folder, '/'))

/**
 * Returns the error with the lines of its stack above the first one that `end` matches. Leaves out lines of Node and of
 * the server itself.
 */
export function moduleStackOf (error: unknown, end: RegExp): string {
  if (!(error instanceof Error)) return `it throws ${String(error)}`
  const lines = (error.stack ?? error.message).split('\n')
  const last = lines.findIndex(line => end.test(line))
  const isTheirs = (line: string): boolean =>
    !/^\s+at /.test(line) || !/\bnode:/.test(line) && !OURS.some(folder => line.includes(folder))
  return lines.slice(0, last === -1 ? undefined : last).filter(isTheirs).join('\n').trimEnd()
}
