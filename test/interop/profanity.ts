/** Profanity, a client for the terminal. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { ServerUnderTest } from './server.js'
import { Terminal } from './terminal.js'

/** Makes a home for a program in a terminal, and returns the environment in which it lives there. */
export function homeOf (server: ServerUnderTest, name: string): Record<string, string> {
  const folder = join(server.folder, name)
  mkdirSync(folder)
  return {
    HOME: folder, XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder, XDG_CACHE_HOME: folder,
    SSL_CERT_FILE: server.certificate, LC_ALL: 'C.UTF-8', TERM: 'screen-256color',
  }
}

/** Opens a terminal in which somebody has logged in with profanity; both end when the test ends. */
export async function profanity (t: Test, server: ServerUnderTest, local: string, password: string): Promise<Terminal> {
  const jid = `${local}@${server.domain}`
  const terminal = await Terminal.open(t, 'profanity', homeOf(server, local))
  await terminal.shows(/Profanity/)
  await terminal.enter(`/connect ${jid} server 127.0.0.1 port ${server.port} tls trust`)
  await terminal.shows(/[Pp]assword/)
  await terminal.enter(password)
  await terminal.shows(new RegExp(`${jid}\\S* logged in`))
  return terminal
}
