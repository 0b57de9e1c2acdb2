#!/usr/bin/env node
/**
 * The entry of the command. It imports nothing until the version of Node is known to be new enough: what it then imports, an old Node could
 * not even read. So this file keeps to the JavaScript of Node 12.
 */

/** The least version of Node, as `engines` in package.json has it. */
const LEAST = [20, 19] as const

// Node's own answer to SIGUSR1 is a debugger that listens on a port, and to SIGUSR2 the end of the process.
process.on('SIGUSR1', () => undefined)
process.on('SIGUSR2', () => undefined)

const [major, minor] = process.versions.node.split('.').map(Number)
if (Number(major) < LEAST[0] || (Number(major) === LEAST[0] && Number(minor) < LEAST[1])) {
  console.error(`Sestina needs Node ${LEAST.join('.')} or later, and this is Node ${process.versions.node}. See https://nodejs.org/en/download`)
  process.exit(1)
} else {
  void import('./command.js')
}
