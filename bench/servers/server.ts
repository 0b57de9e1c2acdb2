/** What the bench wants of a server: where it listens, how to start and stop it, how it gets its accounts. */
import { randomUUID } from 'node:crypto'
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { GeneralName } from '@peculiar/asn1-x509'
import { makeAuthority } from '../../test/auth/authority.js'
import type { Target } from '../client.js'

/** The domain of every server under test, and that of its neighbour, where it has one. Nobody else has them (RFC 6761 §6.2). */
export const DOMAIN = 'verona.test'
export const NEIGHBOUR_DOMAIN = 'mantua.test'
/** The password of every account: of this run alone. */
export const PASSWORD = randomUUID()
/** SHA-1, because it is the one every server offers as installed. */
export const MECHANISM = 'SCRAM-SHA-1'
/** PBKDF2 rounds, the least RFC 5802 §5.1 advises; only the creation of accounts pays for them. */
export const ITERATIONS = 4096
/** How long the servers get to start, in milliseconds: a machine may be busy with something else. */
export const START_PATIENCE = 60_000

/** A server under test. Its folder and ports are its own; nothing of it outlives stop() but the folder. */
export interface Server {
  readonly name: string
  /** The version, or undefined where it is not installed. */
  version (): Promise<string | undefined>
  /** A session can be resumed in one round trip, by a token within a login (XEP-0388, XEP-0484). */
  readonly resumesAtOnce: boolean
  /** The command that installs it. */
  readonly install: string
  /** What is its own: its domain, address, ports and folder. */
  readonly place: Place
  /** Starts it and resolves when it listens and can be given accounts. */
  start (features?: Features): Promise<void>
  /** Creates the accounts, by the server's own means. It has been started. */
  createAccounts (users: readonly string[]): Promise<void>
  /** Stops it; resolves when it has ended. */
  stop (): Promise<void>
  /** The process that is measured, with all its children. Throws where it is not running. */
  readonly pid: number
  /** Where clients log in. */
  target (secure: Target['secure']): Target
}

/** What only some scenes want of it. */
export interface Features {
  /** An archive of messages. */
  readonly archive?: boolean
  /** Another server, with whom it speaks. */
  readonly neighbour?: Place
}

/** What a server is called, where it may write, the address and ports it may use, and the certificate of its domain. */
export interface Place {
  readonly folder: string
  readonly domain: string
  readonly address: string
  readonly plainPort: number
  readonly tlsPort: number
  readonly directPort: number
  readonly serverPort: number
  readonly adminPort: number
  /** Where a DNS server knows of it and its neighbour. */
  readonly names: { readonly address: string, readonly port: number }
  readonly certificate: Certificate
}

/** Files in PEM, and the folder of the authorities that are behind them. */
export interface Certificate { readonly chain: string, readonly key: string, readonly both: string, readonly authorities: string }

/** How clients reach a server at its place. */
export function targetAt (place: Place, secure: Target['secure']): Target {
  const port = { none: place.plainPort, starttls: place.tlsPort, direct: place.directPort }[secure]
  return { host: place.address, port, secure, domain: place.domain, mechanism: MECHANISM, password: PASSWORD }
}

/** What a command prints, or undefined where there is no such command or it fails. */
export async function output (command: string, ...args: readonly string[]): Promise<string | undefined> {
  const run = promisify(execFile)
  return await run(command, args).then(({ stdout }) => stdout, () => undefined)
}

/** The file in a folder of authorities. */
export const AUTHORITY = 'authority.pem'

/** A certificate for each domain as the servers like it most, ECDSA P-256, and an authority of this run that has issued them. */
export async function makeCertificates (folder: string, domains: readonly string[]): Promise<Readonly<Record<string, Certificate>>> {
  const authority = await makeAuthority('Bench')
  const authorities = join(folder, 'authorities')
  await mkdir(authorities)
  await writeFile(join(authorities, AUTHORITY), authority.certificate)
  return Object.fromEntries(await Promise.all(domains.map(async domain => {
    const { certificate, key } = await authority.issue({ subject: `CN=${domain}`, names: [new GeneralName({ dNSName: domain })] })
    const file = (kind: string): string => join(folder, `${domain}.${kind}.pem`)
    await writeFile(file('chain'), certificate)
    await writeFile(file('key'), key, { mode: 0o600 })
    await writeFile(file('both'), `${certificate}\n${key}`, { mode: 0o600 })
    return [domain, { chain: file('chain'), key: file('key'), both: file('both'), authorities }] as const
  })))
}
