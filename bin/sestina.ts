#!/usr/bin/env node
/**
 * The entry point of the command. It imports nothing until it knows that Node is new enough, because an old Node could
 * not even parse the rest. For the same reason this file uses only the JavaScript of Node 12.
 */

/** The oldest supported version of Node, the same as `engines` in package.json. */
const LEAST = [20, 19] as const

// By default, SIGUSR1 makes Node open a debugger port, and SIGUSR2 ends the process.
process.on('SIGUSR1', () => undefined)
process.on('SIGUSR2', () => undefined)

const [major, minor] = process.versions.node.split('.').map(Number)
if (Number(major) < LEAST[0] || (Number(major) === LEAST[0] && Number(minor) < LEAST[1])) {
  console.error(`Sestina needs Node ${LEAST.join('.')} or later, and this is Node ${process.versions.node}. See https://nodejs.org/en/download`)
  process.exit(1)
} else {
  void import('./command.js')
}
