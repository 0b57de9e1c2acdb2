/** @xmpp/client, the JavaScript library, as the tests use it. */
import type { EventEmitter } from 'node:events'
import { readFileSync } from 'node:fs'
import tls from 'node:tls'
import { client, xml, type Client } from '@xmpp/client'
import type { Test } from 'tap'
import type { ServerUnderTest } from './server.js'

export const PASSWORD = 'a secret of Verona'
/** The longest wait for a stanza or a login, in milliseconds. */
export const PATIENCE = 600_000
/**
 * The longest wait of the library for an answer during negotiation, in milliseconds. Its default is two seconds, and a
 * busy machine may need more.
 */
const NEGOTIATION = 8000

export type Stanza = Parameters<Client['send']>[0]

export interface Device {
  readonly xmpp: Client
  readonly full: string
  /** Resolves with the first stanza, already here or yet to come, for which `wanted` returns true. */
  gets (wanted: (stanza: Stanza) => boolean): Promise<Stanza>
}

interface How { readonly resource?: string, readonly service: string }

/**
 * Waits while the library logs in or resumes. If it were stopped then, it would write to the stream that it closes, and
 * fail without anybody to catch that: the messages that a test waits for come before the library has resumed.
 */
async function loggedIn (xmpp: Client): Promise<void> {
  while (['connecting', 'connect', 'opening', 'open'].includes(xmpp.status)) {
    await new Promise(resolve => {
      xmpp.once('status', resolve)
      const resuming = xmpp.streamManagement as unknown as EventEmitter
      resuming.once('resumed', resolve) // no event tells the status after that
    })
  }
}

/** Brings a device of an account online. */
export async function device (t: Test, server: ServerUnderTest, username: string, how: How): Promise<Device> {
  const { resource, service } = how
  const { domain } = server
  const xmpp = client({ service, domain, username, password: PASSWORD, ...resource === undefined ? {} : { resource } })
  const came: Stanza[] = []
  const waiting = new Set<() => void>()
  xmpp.on('error', error => { t.comment(String(error)) })
  xmpp.on('stanza', stanza => {
    came.push(stanza)
    for (const look of waiting) look()
  })
  t.teardown(async () => {
    xmpp.reconnect.stop() // after a second stop the library would reconnect
    await loggedIn(xmpp)
    await xmpp.stop()
  })
  const full = await online(xmpp)
  await xmpp.send(xml('presence'))
  const gets = async (wanted: (stanza: Stanza) => boolean): Promise<Stanza> => await new Promise((resolve, reject) => {
    const done = (): void => { clearTimeout(timer); waiting.delete(look) }
    const timer = setTimeout(() => { done(); reject(new Error(`${full} did not get it, but ${came.join('\n')}`)) }, PATIENCE)
    const look = (): void => {
      const index = came.findIndex(wanted)
      if (index < 0) return
      done()
      resolve(...came.splice(index, 1) as [Stanza])
    }
    waiting.add(look)
    look()
  })
  return { xmpp, full, gets }
}

/**
 * Starts the client and returns its address once it is online. `start` alone misses a server that opens its stream
 * before the library begins to wait for it, and fails although the login goes on.
 */
export async function online (xmpp: Client): Promise<string> {
  Object.assign(xmpp, { timeout: NEGOTIATION })
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(() => { reject(new Error('not online in time')) }, PATIENCE)
    xmpp.once('online', address => {
      clearTimeout(timer)
      resolve(String(address))
    })
    xmpp.start().catch((error: unknown) => {
      if (error instanceof Error && error.name === 'TimeoutError') return
      clearTimeout(timer)
      reject(error instanceof Error ? error : new Error(String(error)))
    })
  })
}

/**
 * Lets the library trust the server's certificate in this test. The library has no setting for it, but connects by
 * node:tls.
 */
export function trust (t: Test, server: ServerUnderTest): void {
  const connect = tls.connect
  const ca = readFileSync(server.certificate)
  tls.connect = ((options: tls.ConnectionOptions) => connect({ ca, ...options })) as typeof tls.connect
  t.teardown(() => { tls.connect = connect })
}
