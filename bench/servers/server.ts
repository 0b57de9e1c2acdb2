/** What the bench wants of a server: where it listens, how to start and stop it, how it gets its accounts. */
import { randomUUID } from 'node:crypto'
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { selfSigned } from '../../lib/stream/self-signed.js'
import type { Target } from '../client.js'

/** The one domain of every server under test. */
export const DOMAIN = 'localhost'
/** The password of every account: of this run alone. */
export const PASSWORD = randomUUID()
/** SHA-1, because it is the one every server offers as installed. */
export const MECHANISM = 'SCRAM-SHA-1'
/** PBKDF2 rounds, the least RFC 5802 §5.1 advises; only the creation of accounts pays for them. */
export const ITERATIONS = 4096
/** How long the operators of the servers get to start. */
export const START_PATIENCE = 30_000

/** A server under test. Its folder and ports are its own; nothing of it outlives stop() but the folder. */
export interface Server {
  readonly name: string
  /** The version, or undefined where it is not installed. */
  version (): Promise<string | undefined>
  /** The command that installs it. */
  readonly install: string
  /** Starts it and resolves when it listens. `archive`: with its archive of messages, which is off otherwise. */
  start (archive?: boolean): Promise<void>
  /** Creates the accounts, by the server's own means. It has been started. */
  createAccounts (users: readonly string[]): Promise<void>
  /** Stops it; resolves when it has ended. */
  stop (): Promise<void>
  /** The process that is measured, with all its children. Throws where it is not running. */
  readonly pid: number
  /** Where clients log in. */
  target (secure: Target['secure']): Target
}

/** Where a server may write, the ports it may use, and the certificate of the domain. */
export interface Place {
  readonly folder: string
  readonly plainPort: number
  readonly tlsPort: number
  readonly directPort: number
  readonly adminPort: number
  readonly certificate: Certificate
}

/** Files in PEM. */
export interface Certificate { readonly chain: string, readonly key: string, readonly both: string }

/** How clients reach a server at its place. */
export function targetAt (place: Place, secure: Target['secure']): Target {
  const port = { none: place.plainPort, starttls: place.tlsPort, direct: place.directPort }[secure]
  return { port, secure, domain: DOMAIN, mechanism: MECHANISM, password: PASSWORD }
}

/** What a command prints, or undefined where there is no such command or it fails. */
export async function output (command: string, ...args: readonly string[]): Promise<string | undefined> {
  const run = promisify(execFile)
  return await run(command, args).then(({ stdout }) => stdout, () => undefined)
}

/** A certificate as the servers like it most: ECDSA P-256, signed by itself. */
export async function makeCertificate (folder: string): Promise<Certificate> {
  const [chain, key, both] = [join(folder, 'chain.pem'), join(folder, 'key.pem'), join(folder, 'both.pem')]
  const made = await selfSigned(DOMAIN, DOMAIN, Date.now())
  await writeFile(chain, made.certificate)
  await writeFile(key, made.key, { mode: 0o600 })
  await writeFile(both, made.certificate + made.key, { mode: 0o600 })
  return { chain, key, both }
}
