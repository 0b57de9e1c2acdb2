/** A server as the bench needs it: where it listens, how to start and stop it, how to create accounts. */
import { randomUUID } from 'node:crypto'
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { GeneralName } from '@peculiar/asn1-x509'
import { makeAuthority } from '../../test/auth/authority.js'
import type { Target } from '../client.js'

/** The domain of every server under test, and that of its neighbour. Both are reserved for tests (RFC 6761 §6.2). */
export const DOMAIN = 'verona.test'
export const NEIGHBOUR_DOMAIN = 'mantua.test'
/** The password of every account, for this run alone. */
export const PASSWORD = randomUUID()
/** SHA-1, because every server offers it in its default settings. */
export const MECHANISM = 'SCRAM-SHA-1'
/**
 * The PBKDF2 iterations: the lowest number that RFC 5802 §5.1 recommends. They cost only at the creation of accounts.
 */
export const ITERATIONS = 4096
/** How long a server may take to start, in milliseconds, as the machine may be busy with something else. */
export const START_TIMEOUT = 60_000

/** A server under test, with its own folder and ports. After stop() only the folder remains. */
export interface Server {
  readonly name: string
  /** Returns the version, or undefined if the server is not installed. */
  version (): Promise<string | undefined>
  /** True if a session can be resumed in one round trip, with a token within the login (XEP-0388, XEP-0484). */
  readonly resumesAtOnce: boolean
  /** The shell command that installs the server. */
  readonly install: string
  /** The server's domain, address, ports and folder. */
  readonly place: Place
  /** Starts the server; resolves when it listens and accounts can be created. */
  start (features?: Features): Promise<void>
  /** Creates the accounts by the server's own means. The server must have been started. */
  createAccounts (users: readonly string[]): Promise<void>
  /** Stops the server; resolves when it has ended. */
  stop (): Promise<void>
  /** The process that is measured with all its children. Throws if it is not running. */
  readonly pid: number
  /** Returns where and how clients log in. */
  target (secure: Target['secure']): Target
}

/** Features that only some scenes need. */
export interface Features {
  /** An archive of messages. */
  readonly archive?: boolean
  /** Personal eventing, and a publish-subscribe service. */
  readonly pubsub?: boolean
  /** The other server that it connects to. */
  readonly neighbour?: Place
}

/** A server's domain and its certificate, the folder it may write, and the address and ports it may use. */
export interface Place {
  readonly folder: string
  readonly domain: string
  readonly address: string
  readonly plainPort: number
  readonly tlsPort: number
  readonly directPort: number
  readonly serverPort: number
  readonly adminPort: number
  /** The DNS server that knows this server and its neighbour. */
  readonly names: { readonly address: string, readonly port: number }
  readonly certificate: Certificate
}

/** PEM files, and the folder of the authorities that issued them. */
export interface Certificate {
  readonly chain: string
  readonly key: string
  readonly both: string
  readonly authorities: string
}

/** Returns the domain of the publish-subscribe service of a server. */
export function serviceAt ({ domain }: Place): string { return `pubsub.${domain}` }

/** Returns how clients reach a server at its place. */
export function targetAt (place: Place, secure: Target['secure']): Target {
  const port = { none: place.plainPort, starttls: place.tlsPort, direct: place.directPort }[secure]
  return { host: place.address, port, secure, domain: place.domain, mechanism: MECHANISM, password: PASSWORD }
}

/** Returns the output of a command, or undefined if there is no such command or it fails. */
export async function output (command: string, ...args: readonly string[]): Promise<string | undefined> {
  const run = promisify(execFile)
  return await run(command, args).then(({ stdout }) => stdout, () => undefined)
}

/** The name of the file in a folder of authorities. */
export const AUTHORITY = 'authority.pem'

/**
 * Makes a certificate for each domain (ECDSA P-256, the kind that suits all servers best), issued by an authority of
 * this run.
 */
export async function makeCertificates (
  folder: string, domains: readonly string[],
): Promise<Readonly<Record<string, Certificate>>> {
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
