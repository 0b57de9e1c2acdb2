/** What an operator can ask of a server: the same whether it runs and is asked over its socket, or is woken for the question. */
import { StreamError } from '../xmpp/errors.js'
import { AccountExists, AccountMissing } from '../auth/accounts.js'
import { PasswordError } from '../auth/keys.js'
import type { Host } from '../host/host.js'
import type { Server } from '../host/server.js'
import { JidError, parseJid, type Jid } from '../xmpp/jid.js'

/** What an operator did wrong, in a line. */
export class CommandError extends Error {}

/** What a command may touch. */
export interface AdminWorld {
  readonly server: Server
  /** What stands beside the hosts: connections, certificates. */
  status (): Readonly<Record<string, unknown>>
  reload (): Promise<void>
  /** Begins to stop; the answer still goes out. */
  stop (): void
}

export interface Question {
  readonly command: string
  readonly args: readonly string[]
  /** What must not stand on a command line: a password. */
  readonly input?: string
}

type Command = (world: AdminWorld, args: readonly string[], input: string | undefined) => Promise<unknown>

/** Accounts that are listed at a time. */
const PAGE = 1000

const COMMANDS: Readonly<Record<string, Command>> = {
  'status': world => Promise.resolve(statusOf(world)),
  'reload': async world => {
    await world.reload()
    return 'reloaded'
  },
  'stop': world => {
    world.stop()
    return Promise.resolve('stopping')
  },
  'hooks': world => Promise.resolve(world.server.hosts.flatMap(host => host.hooks.places().map(place => ({ host: host.domain, ...place })))),
  'backup': async ({ server }, [file]) => {
    await server.storage.backup(needed(file, 'a file'))
    return `written to ${String(file)}`
  },
  'user add': async ({ server }, [name], password) => {
    const { host, jid } = accountOf(server, name)
    await host.createAccount(jid, needed(password, 'a password'))
    return `${jid.toString()} added`
  },
  'user password': async ({ server }, [name], password) => {
    const { host, jid } = accountOf(server, name)
    await host.setPassword(jid, needed(password, 'a password'))
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
    return `${jid.toString()} locked, ${count} sessions ended`
  },
  'user unlock': async ({ server }, [name]) => {
    const { host, jid } = accountOf(server, name)
    await host.accounts.unlock(jid)
    return `${jid.toString()} unlocked`
  },
  'user list': ({ server }, [domain]) => listAccounts(server, domain),
  'user show': async ({ server }, [name]) => {
    const { host, jid } = await existing(server, name)
    const sessions = host.sessions.of(jid).map(session => session.jid.toString())
    return { account: jid.toString(), state: await host.accounts.state(jid), sessions }
  },
  'session list': ({ server }, [name]) => Promise.resolve(listSessions(server, name)),
  'session kick': ({ server }, [name]) => {
    const { host, jid } = accountOf(server, name)
    const sessions = host.sessions.of(jid.bare).filter(session => jid.resource === '' || session.jid.equals(jid))
    for (const session of sessions) session.close(new StreamError('policy-violation', 'ended by the operator'))
    return Promise.resolve(`${sessions.length} sessions ended`)
  },
}

/** The names of all commands but those that modules bring. */
export const COMMAND_NAMES: readonly string[] = Object.keys(COMMANDS)

/** Answers a question. Throws CommandError with what is wrong with it. */
export async function answer (world: AdminWorld, { command, args, input }: Question): Promise<unknown> {
  try {
    const known = Object.hasOwn(COMMANDS, command) ? COMMANDS[command] : undefined
    if (known !== undefined) return await known(world, args, input)
    const host = world.server.hosts.find(host => host.commands.has(command))
    const ofModule = host?.commands.get(command)
    if (ofModule === undefined) throw new CommandError(`there is no command '${command}'`)
    return await ofModule(args)
  } catch (error) {
    if (error instanceof JidError || error instanceof PasswordError || error instanceof AccountExists || error instanceof AccountMissing) {
      throw new CommandError(error.message, { cause: error })
    }
    throw error
  }
}

function statusOf (world: AdminWorld): Readonly<Record<string, unknown>> {
  const { server } = world
  return {
    since: new Date(server.since).toISOString(),
    storage: server.storage.trouble === undefined ? 'fine' : server.storage.trouble.message,
    ...world.status(),
    hosts: server.hosts.map(host => ({ host: host.domain, sessions: host.sessions.count, accountsOnline: host.sessions.accounts })),
  }
}

async function listAccounts (server: Server, domain: string | undefined): Promise<readonly unknown[]> {
  const rows: unknown[] = []
  for (const host of server.hosts) {
    if (domain !== undefined && host.domain !== domain) continue
    for (let after: string | undefined; ;) {
      const page = await host.accounts.list({ limit: PAGE, ...after === undefined ? {} : { after } })
      for (const { account, created, locked } of page) {
        rows.push({ account: account.toString(), created: new Date(created).toISOString(), locked: locked === undefined ? '' : locked.reason || 'yes' })
      }
      after = page.at(-1)?.account.local
      if (page.length < PAGE || after === undefined) break
    }
  }
  return rows
}

function listSessions (server: Server, name: string | undefined): readonly unknown[] {
  return server.hosts.flatMap(host => [...host.sessions.all()])
    .filter(session => name === undefined || session.account.toString() === name || session.account.domain === name)
    .map(session => ({
      jid: session.jid.toString(),
      address: session.address,
      since: new Date(session.since).toISOString(),
      priority: session.available ? session.priority : '',
      secure: session.secure,
    }))
}

function accountOf (server: Server, name: string | undefined): { readonly host: Host, readonly jid: Jid } {
  const jid = parseJid(needed(name, 'an address'))
  const host = server.hostOf(jid)
  if (host === undefined) throw new CommandError(`${jid.domain} is not a host of this server`)
  if (jid.local === '') throw new CommandError(`${jid.toString()} is no account`)
  return { host, jid }
}

async function existing (server: Server, name: string | undefined): Promise<{ readonly host: Host, readonly jid: Jid }> {
  const found = accountOf(server, name)
  if (!await found.host.exists(found.jid)) throw new CommandError(`there is no ${found.jid.toString()}`)
  return found
}

function needed (value: string | undefined, what: string): string {
  if (value === undefined || value === '') throw new CommandError(`${what} is missing`)
  return value
}
