/** What an operator can ask of a server: the same whether it runs and is asked over its socket, or is woken for the question. */
import type { Count } from '../base/counters.js'
import { UnitError } from '../base/units.js'
import { StanzaError, StreamError } from '../xmpp/errors.js'
import { AccountExists, AccountMissing, type Account } from '../auth/accounts.js'
import { PasswordError } from '../auth/keys.js'
import type { Host } from '../host/host.js'
import type { Server } from '../host/server.js'
import { JidError, parseJid, type Jid } from '../xmpp/jid.js'
import { PrepError } from '../xmpp/prep.js'
import { exportAccounts } from './export.js'
import { importAccounts } from './import.js'
import { addAccounts } from './many.js'
import { CommandError, type Talk } from './talk.js'
import { metricsOf, type Measure } from './metrics.js'
import { trafficOf } from './traffic.js'

/** A link to another server, as its operator sees it. */
export interface LinkLine {
  readonly local: string
  readonly remote: string
  readonly direction: string
  readonly state: string
  readonly security: string
  readonly queue: number
  readonly bytes: number
  readonly unacknowledged: number
  readonly address: string
  /** In milliseconds since 1970; undefined where there is no connection. */
  readonly since: number | undefined
  readonly error: string
}

/** Other servers, as far as this one talks to any. */
export interface Federated {
  report (): readonly LinkLine[]
  /** What is counted of them, and what each number says. */
  numbers (): Iterable<Count & { readonly help: string }>
  /** Tries the way from a domain of ours to another; a line for each step. */
  test (local: string, remote: string): Promise<readonly { readonly ok: boolean }[]>
}

/** What a command may touch. */
export interface AdminWorld {
  readonly server: Server
  /** What stands beside the hosts: connections, certificates. */
  status (): Readonly<Record<string, unknown>>
  /** The numbers of that, and of the process. */
  measures (): Iterable<Measure>
  /** undefined: it talks to no other servers. */
  readonly federation: Federated | undefined
  /** Takes over the conf file; answers with what has changed there and takes a restart. */
  reload (): Promise<readonly string[]>
  /** Stops; resolves once all that was acknowledged is stored. The answer still goes out. */
  stop (): Promise<void>
}

export interface Question {
  readonly command: string
  readonly args: readonly string[]
  /** What must not stand on a command line: a password. */
  readonly input?: string
}

interface Asked extends Omit<Question, 'command'> { readonly talk: Talk }

type Command = (world: AdminWorld, args: readonly string[], asked: Asked) => Promise<unknown>

/** Accounts that are listed at a time. */
const PAGE = 1000

const COMMANDS: Readonly<Record<string, Command>> = {
  'status': statusOf,
  'reload': async world => {
    const waiting = await world.reload()
    return waiting.length === 0 ? 'reloaded' : `reloaded; what has changed under ${waiting.join(', ')} takes a restart`
  },
  'stop': async world => {
    await world.stop()
    return 'stopped'
  },
  'hooks': world => Promise.resolve(world.server.hosts.flatMap(host => host.hooks.places().map(place => ({ host: host.domain, ...place })))),
  'backup': async ({ server }, [file]) => {
    const path = needed(file, 'a file')
    try {
      await server.storage.backup(path)
    } catch (error) {
      throw new CommandError(isThere(error) ? `${path} is there already` : `${path} was not written: ${messageOf(error)}`, { cause: error })
    }
    return `written to ${path}`
  },
  'export': async ({ server }, [file, ...wanted], { talk }) => {
    const count = await exportAccounts(server, needed(file, 'a file'), wanted, talk)
    return `${count} accounts written to ${String(file)}`
  },
  'import': async ({ server }, words, { talk }) => {
    const files = words.filter(word => !word.startsWith('--'))
    needed(files[0], 'a file')
    const imported = await importAccounts(server, files, { strict: words.includes('--strict'), merge: words.includes('--merge') }, talk)
    server.log.info('imported', { ...imported })
    return imported
  },
  'user add': async ({ server }, [name], { input, talk }) => {
    if (name === '--csv') return await addAccounts(server, needed(input, 'a list of accounts'), talk, isMistake)
    const { host, jid } = accountOf(server, name)
    await host.createAccount(jid, needed(input, 'a password'))
    return `${jid.toString()} added`
  },
  'user password': async ({ server }, [name], { input }) => {
    const { host, jid } = accountOf(server, name)
    await host.setPassword(jid, needed(input, 'a password'))
    return `password of ${jid.toString()} changed`
  },
  'user remove': async ({ server }, [name]) => {
    const { host, jid } = await existing(server, name)
    await host.removeAccount(jid)
    return `${jid.toString()} removed`
  },
  'user lock': async ({ server }, [name, ...reason]) => {
    const { host, jid } = accountOf(server, name)
    await host.accounts.lock(jid, reason.join(' '))
    const count = host.kick(jid, new StreamError('not-authorized', 'the account is locked'))
    return `${jid.toString()} locked, ${counted(count, 'session')} ended`
  },
  'user unlock': async ({ server }, [name]) => {
    const { host, jid } = accountOf(server, name)
    await host.accounts.unlock(jid)
    return `${jid.toString()} unlocked`
  },
  'user list': ({ server }, words) => listAccounts(server, words),
  'user show': async ({ server }, [name]) => {
    const { host, jid } = await existing(server, name)
    const stored = await host.accounts.stored(jid)
    return {
      account: jid.toString(),
      created: stored === undefined ? '' : new Date(stored.created).toISOString(),
      state: await host.accounts.state(jid),
      ...lockOf(stored?.locked),
      // What its password was turned into; PLAIN is checked against any of them.
      keys: Object.keys(stored?.keys ?? {}).map(hash => `SCRAM-${hash.toUpperCase()}`),
      sessions: host.sessions.of(jid).map(session => session.jid.toString()),
    }
  },
  's2s': world => Promise.resolve(listLinks(world)),
  's2s test': (world, [domain, from]) => testLink(world, domain, from),
  'metrics': metricsOf,
  'traffic': ({ server }) => Promise.resolve(trafficOf(server)),
  'session list': ({ server }, [name]) => Promise.resolve(listSessions(server, name)),
  'session kick': async ({ server }, [name]) => {
    const { host, jid } = await existing(server, name)
    const sessions = host.sessions.of(jid.bare).filter(session => jid.resource === '' || session.jid.equals(jid))
    for (const session of sessions) session.close(new StreamError('policy-violation', 'ended by the operator'))
    return `${counted(sessions.length, 'session')} ended`
  },
}

/** The names of all commands but those that modules bring. */
export const COMMAND_NAMES: readonly string[] = Object.keys(COMMANDS)

/** Answers a question. Throws CommandError with what is wrong with it. */
export async function answer (world: AdminWorld, { command, args, ...rest }: Question, talk: Talk): Promise<unknown> {
  try {
    const known = Object.hasOwn(COMMANDS, command) ? COMMANDS[command] : undefined
    if (known !== undefined) return await known(world, args, { args, ...rest, talk })
    const ofModule = hostFor(world.server, command, args[0])?.commands.get(command)
    if (ofModule === undefined) throw new CommandError(`there is no command '${command}'`)
    return await ofModule(args)
  } catch (error) {
    throw error instanceof Error && MISTAKES.some(kind => error instanceof kind) ? new CommandError(error.message, { cause: error }) : error
  }
}

/** A module speaks for its own host: that of the address which is asked about, where the first word is one. */
function hostFor ({ hosts }: Server, command: string, address: string | undefined): Host | undefined {
  const able = hosts.filter(host => host.commands.has(command))
  const domain = address?.includes('@') === true ? parseJid(address).domain : undefined
  return able.find(host => host.domain === domain) ?? able[0]
}

/** What the operator may be told as it stands. */
const MISTAKES = [JidError, PasswordError, PrepError, AccountExists, AccountMissing, StanzaError, UnitError]

function isMistake (error: unknown): boolean {
  return error instanceof CommandError || MISTAKES.some(kind => error instanceof kind)
}

function lockOf (locked: Account['locked']): Readonly<Record<string, unknown>> {
  return locked === undefined ? {} : { locked: { since: new Date(locked.since).toISOString(), reason: locked.reason } }
}

async function statusOf (world: AdminWorld): Promise<Readonly<Record<string, unknown>>> {
  const { server } = world
  let unread: string | undefined
  // A status says most when the storage is away: what cannot be read then is left open.
  const stored = async <T>(read: Promise<T>): Promise<T | 'unknown'> => {
    try {
      return await read
    } catch (error) {
      unread = messageOf(error)
      return 'unknown'
    }
  }
  const hosts = await Promise.all(server.hosts.map(async host => ({
    host: host.domain, accounts: await stored(countAccounts(host)), sessions: host.sessions.count, accountsOnline: host.sessions.accounts,
    notOffered: await stored(notOffered(host)),
  })))
  return {
    since: new Date(server.since).toISOString(),
    uptime: ageOf(server.clock.now() - server.since),
    storage: server.storage.trouble?.message ?? unread ?? 'fine',
    ...world.status(),
    hosts,
  }
}

/** Accounts that are counted for a status. */
const MOST_COUNTED = 10_000

/** As a number up to MOST_COUNTED; there the list is not read on. */
async function countAccounts ({ accounts }: Host): Promise<number | string> {
  let count = 0
  for (let after: string | undefined; count < MOST_COUNTED;) {
    const page = await accounts.list({ limit: PAGE, ...after === undefined ? {} : { after } })
    count += page.length
    after = page.at(-1)?.account.local
    if (page.length < PAGE || after === undefined) return count
  }
  return `at least ${count}`
}

/** The mechanisms that a host does not offer because accounts have no keys for them. */
async function notOffered ({ accounts }: Host): Promise<string> {
  const lines = await Promise.all([...accounts.lacking].sort().map(async hash => {
    const count = await accounts.countLacking(hash, MOST_COUNTED)
    return `SCRAM-${hash.toUpperCase()} (${count === 1 ? '1 account lacks' : `${count === MOST_COUNTED ? 'at least ' : ''}${count} accounts lack`} it)`
  }))
  return lines.join(', ')
}

/** `words`: a domain, `--search=TEXT` for addresses with that text, `--limit=N` for the first N. */
async function listAccounts (server: Server, words: readonly string[]): Promise<readonly unknown[]> {
  const rows: unknown[] = []
  const domain = words.find(word => !word.startsWith('--'))
  const search = words.find(word => word.startsWith('--search='))?.slice('--search='.length).toLowerCase() ?? ''
  const limit = Number(words.find(word => word.startsWith('--limit='))?.slice('--limit='.length) ?? Infinity)
  if (!(limit >= 1)) throw new CommandError('--limit takes a number from 1 on')
  for (const host of domain === undefined ? server.hosts : [hostNamed(server, domain)]) {
    for (let after: string | undefined; ;) {
      const page = await host.accounts.list({ limit: PAGE, ...after === undefined ? {} : { after } })
      for (const { account, created, locked } of page) {
        if (!account.toString().includes(search)) continue
        if (rows.length >= limit) return rows
        rows.push({ account: account.toString(), created: new Date(created).toISOString(), locked: locked === undefined ? '' : locked.reason || 'yes' })
      }
      after = page.at(-1)?.account.local
      if (page.length < PAGE || after === undefined) break
    }
  }
  return rows
}

function hostNamed (server: Server, domain: string): Host {
  const host = server.host(parseJid(domain).toString())
  if (host === undefined) throw new CommandError(`${domain} is not a host of this server`)
  return host
}

function federationOf ({ federation }: AdminWorld): Federated {
  if (federation === undefined) throw new CommandError('this server talks to no others: the conf file has no [[listen]] for = "servers"')
  return federation
}

function listLinks (world: AdminWorld): readonly unknown[] {
  const now = world.server.clock.now()
  return federationOf(world).report().map(({
    local, remote, direction, state, security, queue, unacknowledged, since, address, error,
  }) => ({
    local, remote, direction, state, security, queue, unacknowledged, age: since === undefined ? '' : ageOf(now - since), address, error,
  }))
}

async function testLink (world: AdminWorld, domain: string | undefined, from: string | undefined): Promise<readonly unknown[]> {
  const federation = federationOf(world)
  const remote = parseJid(needed(domain, 'a domain'))
  if (remote.local !== '' || remote.resource !== '') throw new CommandError(`${remote.toString()} is an address: a domain is wanted`)
  if (world.server.host(remote.domain) !== undefined) throw new CommandError(`${remote.domain} is a host of this server`)
  const [first] = world.server.hosts
  const local = from === undefined ? first : hostNamed(world.server, from)
  if (local === undefined) throw new CommandError('this server has no host')
  const steps = await federation.test(local.domain, remote.domain)
  return steps.map(step => ({ ...step, ok: step.ok ? 'ok' : 'FAILS' }))
}

/** In the two largest units: 3d 4h, 5m 2s. */
function ageOf (ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  const parts = [[Math.floor(seconds / 86_400), 'd'], [Math.floor(seconds / 3600) % 24, 'h'], [Math.floor(seconds / 60) % 60, 'm'], [seconds % 60, 's']]
  const from = parts.findIndex(([count]) => count !== 0)
  return from < 0 ? '0s' : parts.slice(from, from + 2).map(part => part.join('')).join(' ')
}

function listSessions (server: Server, name: string | undefined): readonly unknown[] {
  const jid = name === undefined ? undefined : parseJid(name)
  const wanted = jid === undefined ? server.hosts : [hostNamed(server, jid.domain)]
  return wanted.flatMap(host => jid === undefined || jid.local === '' ? [...host.sessions.all()] : host.sessions.of(jid.bare))
    .filter(session => jid === undefined || jid.resource === '' || session.jid.equals(jid))
    .map(session => ({
      jid: session.jid.toString(),
      address: session.address,
      since: new Date(session.since).toISOString(),
      priority: session.available ? session.priority : '',
      secure: session.secure,
    }))
}

/** Throws CommandError where this can be no account: before anybody is asked for more. */
export function checkAccount (name: string | undefined): void {
  try {
    if (parseJid(needed(name, 'an address')).local === '') throw new CommandError(`${String(name)} is no account: it is written name@host`)
  } catch (error) {
    throw error instanceof JidError ? new CommandError(`'${String(name)}' is no address: ${error.message}`, { cause: error }) : error
  }
}

function accountOf (server: Server, name: string | undefined): { readonly host: Host, readonly jid: Jid } {
  const jid = parseJid(needed(name, 'an address'))
  const host = server.hostOf(jid)
  if (host === undefined) throw new CommandError(`${jid.domain} is not a host of this server`)
  if (jid.local === '') throw new CommandError(`${jid.toString()} is no account`)
  return { host, jid }
}

/** The account, and the address as it was given: with a resource, where it has one. */
async function existing (server: Server, name: string | undefined): Promise<{ readonly host: Host, readonly jid: Jid }> {
  const found = accountOf(server, name)
  if (!await found.host.exists(found.jid.bare)) throw new CommandError(`there is no ${found.jid.bare.toString()}`)
  return found
}

function needed (value: string | undefined, what: string): string {
  if (value === undefined || value === '') throw new CommandError(`${what} is missing`)
  return value
}

function counted (count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}

function isThere (error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EEXIST'
}

function messageOf (error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
