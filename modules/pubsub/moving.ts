/** `sestina pubsub export` and `sestina pubsub import`: the nodes of a service as a file. */
import { createReadStream } from 'node:fs'
import { link, open, rm } from 'node:fs/promises'
import { exportNodes, importNodes, linesOf, StanzaError } from '../../lib/api.js'
import type { ModuleHost, Moved, Moving } from '../../lib/api.js'

/** The most bytes of a line: of a node with the most subscriptions and affiliations, or of an item. */
const LONGEST = 6 * 1024 * 1024

/** Adds the commands. */
export function moveNodes (host: ModuleHost, moving: Moving): void {
  const fileIn = ([domain, file, ...more]: readonly string[], usage: string): string => {
    if (file === undefined || more.length > 0) throw new StanzaError('bad-request', usage)
    if (domain !== host.domain) throw new StanzaError('item-not-found', `${domain} is no service with nodes`)
    return file
  }
  host.command('pubsub export', async args => await written(moving, fileIn(args, 'pubsub export DOMAIN FILE')))
  host.command('pubsub import', async args => await read(host, moving, fileIn(args, 'pubsub import DOMAIN FILE')))
}

/** Writes all nodes to a new file that only its owner can read. An export never overwrites a file. */
async function written (moving: Moving, file: string): Promise<Moved> {
  const part = `${file}.part`
  await rm(part, { force: true }) // left by an interrupted export
  const handle = await open(part, 'wx', 0o600).catch((error: unknown) => { throw fault(part, error) })
  try {
    const moved = await exportNodes(moving, text => handle.write(text))
    await handle.sync()
    await link(part, file).catch((error: unknown) => { throw fault(file, error) })
    return moved
  } finally {
    await handle.close()
    await rm(part, { force: true })
  }
}

async function read (host: ModuleHost, moving: Moving, file: string): Promise<Moved> {
  try {
    return await importNodes(host, moving, linesOf(createReadStream(file), LONGEST))
  } catch (error) {
    if (error instanceof RangeError || error instanceof Error && 'code' in error) throw fault(file, error)
    throw error
  }
}

function fault (file: string, error: unknown): StanzaError {
  const isThere = error instanceof Error && 'code' in error && error.code === 'EEXIST'
  const text = isThere ? 'exists already' : `cannot be used: ${error instanceof Error ? error.message : ''}`
  return new StanzaError('bad-request', `${file} ${text}`, { cause: error })
}
