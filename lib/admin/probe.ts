/** Tests whether the system allows what the conf file asks for: ports and folders. */
import { accessSync, constants, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname } from 'node:path'

/** Returns why no program can listen there now (EADDRINUSE, EACCES, …); undefined if one can. Port 0 is always free. */
export async function whyNotListen (address: string, port: number): Promise<string | undefined> {
  if (port === 0) return undefined
  const server = createServer()
  return await new Promise(resolve => {
    server.once('error', (error: NodeJS.ErrnoException) => { resolve(error.code ?? error.message) })
    server.listen({ host: address, port, exclusive: true, ipv6Only: address.includes(':') }, () => { server.close(() => { resolve(undefined) }) })
  })
}

/** Returns a command that shows which program listens on a port, for the operator. Another user's needs root. */
export function finderOf (port: number | string): string {
  return `sudo ss -ltnp 'sport = :${port}'`
}

/** Returns why nothing can be written into a folder, which may not exist yet; undefined if writing is possible. */
export function whyNotWrite (folder: string): string | undefined {
  try {
    if (!statSync(folder).isDirectory()) return `${folder} is not a folder`
  } catch {
    // The path does not exist, or something above it is a file.
    return dirname(folder) === folder ? undefined : whyNotWrite(dirname(folder))
  }
  try {
    accessSync(folder, constants.W_OK | constants.X_OK)
    return undefined
  } catch {
    return `this user may not write to ${folder}: it must belong to the user who runs the server`
  }
}
