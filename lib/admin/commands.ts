/**
 * The commands of an operator. They are the same for a running server, over its socket, and for a server that the
 * command starts only for this question.
 */
import { UnitError } from '../base/units.js'
import { StanzaError, StreamError } from '../xmpp/errors.js'
import { AccountExists, AccountMissing, type Account, type AccountEntry } from '../auth/accounts.js'
import { PasswordError, prepareNewPassword } from '../auth/keys.js'
import { MIN_PASSWORD_LENGTH } from '../config/server.js'
import type { Host } from '../host/host.js'
import type { Server } from '../host/server.js'
import { JidError, parseJid, type Jid } from '../xmpp/jid.js'
import { PrepError } from '../xmpp/prep.js'
import { limitIn, listAside } from './aside.js'
import { pagesOf } from './account-pages.js'
import { exportAccounts } from './export.js'
import { importAccounts } from './import.js'
import { addAccounts } from './many.js'
import { CommandError, type Operator } from './talk.js'
import { metricsOf } from './metrics.js'
import { trace } from './trace.js'
import { trafficOf } from './traffic.js'
import type { AdminDeps, FederationAdmin } from './world.js'

/** A command with its words, as it crosses the socket. */
export interface CommandRequest {
  readonly command: string
  readonly args: readonly string[]
  /** Input that must not be on a command line, such as a password. */
  readonly input?: string
}

interface CommandInput extends Omit<CommandRequest, 'command'> { readonly talk: Operator }

type Command = (world: AdminDeps, args: readonly string[], asked: CommandInput) => Promise<unknown>

/** The number of accounts that are read at a time. */
const PAGE = 1000

const COMMANDS: Readonly<Record<string, Command>> = {
  'status': statusOf,
  'reload': async world => {
    const waiting = await world.reload()
    const done = waiting.length === 0 ? 'reloaded' : `reloaded; the changes of ${waiting.join(', ')} need a restart`
    return [done, ...world.warnings()].join('\n')
  },
  'stop': async world => {
    await world.stop()
    return 'stopped'
  },
  'check': () => Promise.resolve('running'), // `sestina check` asks only whether a server answers
  'hooks': world => Promise.resolve(world.server.hosts.flatMap(host => host.hooks.places().map(place => ({ host: host.domain, ...place })))),
  'backup': async ({ server }, [file]) => {
    const path = needed(file, 'a file')
    try {
      await server.storage.backup(path)
    } catch (error) {
      throw new CommandError(isThere(error) ? `${path} exists already` : `${path} was not written: ${messageOf(error)}`, { cause: error })
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
    server.log.info('accounts imported', { ...imported })
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
  'storage aside': ({ server }, words, { talk }) => listAside(server.storage, words, talk),
  'user list': ({ server }, words) => listAccounts(server, words),
  'user show': async ({ server }, [name]) => {
    const { host, jid } = await existing(server, name)
    const stored = await host.accounts.stored(jid)
    return {
      account: jid.toString(),
      created: stored === undefined ? '' : new Date(stored.created).toISOString(),
      state: await host.accounts.state(jid),
      ...lockOf(stored?.locked),
      // The keys derived from the password; PLAIN is checked against any of them.
      keys: Object.keys(stored?.keys ?? {}).map(hash => `SCRAM-${hash.toUpperCase()}`),
      sessions: host.sessions.of(jid).map(session => session.jid.toString()),
    }
  },
  's2s': world => Promise.resolve(listLinks(world)),
  's2s test': (world, [domain, from]) => testLink(world, domain, from),
  'metrics': world => Promise.resolve(metricsOf(world).trimEnd()),
  'trace': async ({ server }, words, { talk }) => {
    const { host, jid } = addressOf(server, words.find(word => !word.startsWith('--')))
    // An entity of a service may begin to exist while it is traced.
    const isKnown = jid.local === '' || host.isService || await host.exists(jid.bare)
    if (!isKnown) throw new CommandError(`there is no ${jid.bare.toString()}`)
    return await trace(server, jid, words.includes('--bodies'), talk)
  },
  'traffic': ({ server }) => Promise.resolve(trafficOf(server)),
  'session list': ({ server }, [name]) => Promise.resolve(listSessions(server, name)),
  'session kick': async ({ server }, [name]) => {
    const { host, jid } = await existing(server, name)
    const sessions = host.sessions.of(jid.bare).filter(session => jid.resource === '' || session.jid.equals(jid))
    for (const session of sessions) session.close(new StreamError('policy-violation', 'the operator ended the session'))
    return `${counted(sessions.length, 'session')} ended`
  },
}

/** The names of all commands except those of modules. */
export const COMMAND_NAMES: readonly string[] = Object.keys(COMMANDS)

/** Runs a command and returns its answer. Throws CommandError if the operator made a mistake. */
export async function runCommand (
  world: AdminDeps, { command, args, ...rest }: CommandRequest, talk: Operator,
): Promise<unknown> {
  try {
    const known = Object.hasOwn(COMMANDS, command) ? COMMANDS[command] : undefined
    if (known !== undefined) return await known(world, args, { args, ...rest, talk })
    const ofModule = hostFor(world.server, command, args[0])?.commands.get(command)
    if (ofModule === undefined) throw new CommandError(`there is no command '${command}'`)
    return await ofModule(args)
  } catch (error) {
    if (!(error instanceof Error && MISTAKES.some(kind => error instanceof kind))) throw error
    throw new CommandError(error.message, { cause: error })
  }
}

/**
 * Returns the host whose module runs the command: the host of the address or domain in the first word, or the first
 * able one.
 */
function hostFor ({ hosts }: Server, command: string, address: string | undefined): Host | undefined {
  const able = hosts.filter(host => host.commands.has(command))
  const domain = address?.includes('@') === true ? parseJid(address).domain : address
  return able.find(host => host.domain === domain) ?? able[0]
}

/** The errors whose messages are shown to the operator unchanged. */
const MISTAKES = [JidError, PasswordError, PrepError, AccountExists, AccountMissing, StanzaError, UnitError]

function isMistake (error: unknown): boolean {
  return error instanceof CommandError || MISTAKES.some(kind => error instanceof kind)
}

function lockOf (locked: Account['locked']): Readonly<Record<string, unknown>> {
  return locked === undefined ? {} : { locked: { since: new Date(locked.since).toISOString(), reason: locked.reason } }
}

async function statusOf (world: AdminDeps): Promise<Readonly<Record<string, unknown>>> {
  const { server } = world
  let unread: string | undefined
  // A status is needed most when the storage fails. A value that cannot be read then is 'unknown'.
  const stored = async <T>(read: Promise<T>): Promise<T | 'unknown'> => {
    try {
      return await read
    } catch (error) {
      unread = messageOf(error)
      return 'unknown'
    }
  }
  const hosts = await Promise.all(server.hosts.map(async host => ({
    host: host.domain,
    accounts: await stored(countAccounts(host)),
    sessions: host.sessions.count,
    accountsOnline: host.sessions.accounts,
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

/** The most accounts that are counted for a status. */
const MOST_COUNTED = 10_000

/** Counts the accounts of a host. Counting ends at MOST_COUNTED, and the answer is then `at least N`. */
async function countAccounts (host: Host): Promise<number | string> {
  let count = 0
  for await (const page of pagesOf(host, PAGE)) {
    count += page.length
    if (count >= MOST_COUNTED && page.length === PAGE) return `at least ${count}`
  }
  return count
}

/** Lists the mechanisms that a host does not offer because some accounts have no keys for them. */
async function notOffered ({ accounts }: Host): Promise<string> {
  const lines = await Promise.all([...accounts.lacking].sort().map(async hash => {
    const count = await accounts.countLacking(hash, MOST_COUNTED)
    return `SCRAM-${hash.toUpperCase()} (${count === 1 ? '1 account lacks' : `${count === MOST_COUNTED ? 'at least ' : ''}${count} accounts lack`} it)`
  }))
  return lines.join(', ')
}

/** Lists accounts. `words` may be a domain, `--search=TEXT` (in the address) and `--limit=N` (the first N). */
async function listAccounts (server: Server, words: readonly string[]): Promise<readonly unknown[]> {
  const rows: unknown[] = []
  const domain = words.find(word => !word.startsWith('--'))
  const search = words.find(word => word.startsWith('--search='))?.slice('--search='.length).toLowerCase() ?? ''
  const limit = limitIn(words, Infinity)
  for (const host of domain === undefined ? server.hosts : [hostNamed(server, domain)]) {
    for await (const page of pagesOf(host, PAGE)) {
      for (const entry of page.filter(({ account }) => account.toString().includes(search))) {
        if (rows.length >= limit) return rows
        rows.push(rowOf(entry))
      }
    }
  }
  return rows
}

/** Returns one account as a row of the list. */
function rowOf ({ account, created, locked }: AccountEntry): Readonly<Record<string, string>> {
  return {
    account: account.toString(),
    created: new Date(created).toISOString(),
    locked: locked === undefined ? '' : locked.reason || 'yes',
  }
}

function hostNamed (server: Server, domain: string): Host {
  const host = server.host(parseJid(domain).toString())
  if (host === undefined) throw new CommandError(`${domain} is not a host of this server`)
  return host
}

function federationOf ({ federation }: AdminDeps): FederationAdmin {
  if (federation === undefined) throw new CommandError('this server does not talk to others: the conf file has no [[listen]] with for = "servers"')
  return federation
}

function listLinks (world: AdminDeps): readonly unknown[] {
  const now = world.server.clock.now()
  return federationOf(world).report().map(({
    local, remote, direction, state, security, queue, unacknowledged, since, address, error,
  }) => ({
    local, remote, direction, state, security, queue, unacknowledged, age: since === undefined ? '' : ageOf(now - since), address, error,
  }))
}

async function testLink (
  world: AdminDeps, domain: string | undefined, from: string | undefined,
): Promise<readonly unknown[]> {
  const federation = federationOf(world)
  const remote = parseJid(needed(domain, 'a domain'))
  if (remote.local !== '' || remote.resource !== '') throw new CommandError(`${remote.toString()} is an address: give a domain`)
  if (world.server.host(remote.domain) !== undefined) throw new CommandError(`${remote.domain} is a host of this server`)
  const [first] = world.server.hosts
  const local = from === undefined ? first : hostNamed(world.server, from)
  if (local === undefined) throw new CommandError('this server has no host')
  const steps = await federation.test(local.domain, remote.domain)
  return steps.map(step => ({ ...step, ok: step.ok ? 'ok' : 'FAILS' }))
}

/** Writes a duration in its two largest units, such as 3d 4h or 5m 2s. */
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

/** Throws CommandError if the text cannot be an account's address. Call it before you ask for a password. */
export function checkAccount (name: string | undefined): void {
  try {
    if (parseJid(needed(name, 'an address')).local === '') throw new CommandError(`${String(name)} is not an account: write name@host`)
  } catch (error) {
    throw error instanceof JidError ? new CommandError(`'${String(name)}' is not an address: ${error.message}`, { cause: error }) : error
  }
}

/** Returns the domain in its normal form. Throws CommandError if the text is none. */
export function checkedDomain (text: string): string {
  try {
    const { local, domain, resource } = parseJid(text)
    if (local === '' && resource === '') return domain
  } catch (error) {
    throw error instanceof JidError ? new CommandError(`'${text}' is not a domain: ${error.message}`, { cause: error }) : error
  }
  throw new CommandError(`'${text}' is not a domain: write only the part after the @`)
}

/** Throws CommandError if this cannot be the password of a new account under the default settings. */
export function checkPassword (password: string): void {
  try {
    prepareNewPassword(password, MIN_PASSWORD_LENGTH)
  } catch (error) {
    const isWrong = error instanceof PasswordError || error instanceof PrepError
    throw isWrong ? new CommandError(error.message, { cause: error }) : error
  }
}

function accountOf (server: Server, name: string | undefined): { readonly host: Host, readonly jid: Jid } {
  const found = addressOf(server, name)
  if (found.jid.local === '') throw new CommandError(`${found.jid.toString()} is not an account`)
  if (found.host.isService) throw new CommandError(`${found.jid.domain} is a service: it has no accounts`)
  return found
}

/** Returns an address at a host of this server: an account, a device, an entity, or the host itself. */
function addressOf (server: Server, name: string | undefined): { readonly host: Host, readonly jid: Jid } {
  const jid = parseJid(needed(name, 'an address'))
  const host = server.host(jid.domain)
  if (host === undefined) throw new CommandError(`${jid.domain} is not a host of this server`)
  return { host, jid }
}

/** Returns the host of an existing account, and the address as it was given (it may have a resource). */
async function existing (server: Server, name: string | undefined): Promise<ReturnType<typeof accountOf>> {
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
