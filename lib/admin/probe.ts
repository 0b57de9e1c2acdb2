/** Whether the system lets a server have what its conf asks for: tried, and given back at once. */
import { accessSync, constants, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname } from 'node:path'

/** Why no program can listen there now (EADDRINUSE, EACCES, …); undefined if one can. Port 0 is always free. */
export async function whyNotListen (address: string, port: number): Promise<string | undefined> {
  if (port === 0) return undefined
  const server = createServer()
  return await new Promise(resolve => {
    server.once('error', (error: NodeJS.ErrnoException) => { resolve(error.code ?? error.message) })
    server.listen({ host: address, port, exclusive: true, ipv6Only: address.includes(':') }, () => { server.close(() => { resolve(undefined) }) })
  })
}

/** Why nothing can be written into a folder that is there or is still to be made; undefined if it can. */
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
    return `this user may not write into ${folder}: it has to belong to the user who runs the server`
  }
}
