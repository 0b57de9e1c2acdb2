/** The one command: starts a server, and asks it things over its local socket; accounts also while no server runs. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { password as askPassword, confirm, isCancel } from '@clack/prompts'
import { Argument, Command, CommanderError } from 'commander'
import { answer, checkAccount, type Question } from '../lib/admin/commands.js'
import { askAdmin } from '../lib/admin/socket.js'
import { CommandError, type Told } from '../lib/admin/talk.js'
import { silent } from '../lib/base/logger.js'
import { VERSION } from '../lib/base/package.js'
import { ConfigProblems } from '../lib/config/problem.js'
import { check, type Checking } from './check.js'
import { completion, SHELLS } from './completion.js'
import { explain } from './explain.js'
import { init } from './init.js'
import { findModules, restoreStorage, start } from '../lib/main.js'
import { endWithReader } from './output.js'
import { confFile, env, MODULES, PLACES, readConf, socketOf } from './place.js'
import { serve, worldOf } from './serve.js'
import { Meanwhile, show } from './show.js'

/** sysexits.h: what an init system and a script understand. */
const EXIT = { failed: 1, usage: 64, data: 65, unavailable: 69, conf: 78 } as const

endWithReader()

const program = new Command('sestina').description('Sestina, an XMPP server').version(VERSION)
  .exitOverride().showHelpAfterError('(--help says more)').enablePositionalOptions().addHelpText('afterAll', `\n${PLACES}`)

program.command('start').description('Start the server, and stay in the foreground').option('--conf <file>', 'the conf file')
  .action(async ({ conf }: { readonly conf?: string }) => { await serve(confFile(conf)) })

// ---- Check -------------------------------------------------------------------------------

program.command('check').description('Say what a start would meet: mistakes in the conf file, certificates, ports, storage; touches no server').argument('[file]', 'the conf file')
  .option('--conf <file>', 'the conf file').option('--full', 'print the settings in force, each with the place it came from')
  .option('--dns', 'print the SRV records to set, and what DNS says today; ends with 1 unless all of it is right')
  .option('--resolver <address>', 'ask this DNS server (IP, or IP:port) instead of the usual one').option('--json', 'print JSON')
  .action(async (given: string | undefined, how: Checking & { readonly conf?: string }) => {
    const verdict = await check(confFile(given ?? how.conf), how)
    if (verdict !== 'fine') process.exitCode = verdict === 'conf' ? EXIT.conf : EXIT.failed
  })

interface Initiating { readonly domain?: string, readonly admin?: string, readonly passwordStdin?: boolean }

// ---- Init --------------------------------------------------------------------------------

program.command('init').description('Make a conf file and a data folder, and add the first administrator')
  .argument('[folder]', 'where both go; left out, the usual places of this user')
  .option('--domain <domain>', 'the domain that is served').option('--admin <jid>', 'the first administrator').option('--password-stdin', 'read the password from standard input')
  .action(async (folder: string | undefined, how: Initiating) => {
    show(await init({
      folder, domain: how.domain, admin: how.admin,
      password: () => readPassword(how.passwordStdin === true),
      add: (conf, jid, password) => put({ command: 'user add', args: [jid], input: password }, conf, true),
    }), false)
  })

// ---- What the server is asked ------------------------------------------------------------------

interface Asking {
  readonly conf?: string
  readonly json?: boolean
  readonly passwordStdin?: boolean
  readonly strict?: boolean
  readonly merge?: boolean
  readonly csv?: boolean
  readonly search?: string
  readonly limit?: string
  readonly yes?: boolean
}

interface Needs {
  /** A password is read, for the account that the first word names. */
  readonly password?: boolean
  /** It destroys what nothing brings back: it is asked whether it is meant. The question, for the first word. */
  readonly confirm?: (word: string) => string
  /** It works while no server runs, too. */
  readonly offline?: boolean
  /** How many of the words, from the first on, are files. */
  readonly files?: number
  /** Options that go to the server as words. */
  readonly flags?: Readonly<Record<'strict' | 'merge', string>>
  /** Options with a value that go to the server as words. */
  readonly values?: Readonly<Record<'search' | 'limit', string>>
}

const user = program.command('user').description('Accounts')
ask(user, 'add', '[jid]', 'Add an account, or with --csv those that standard input lists: a line each, address,password', { password: true, offline: true })
  .option('--csv', 'add many: lines of address,password or address,,SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY from standard input')
ask(user, 'password', '<jid>', 'Set a password', { password: true, offline: true })
ask(user, 'remove', '<jid>', 'Remove an account and all it has', { offline: true, confirm: jid => `Remove ${jid} and all it has?` })
ask(user, 'list', '[domain]', 'List the accounts: address, since when, why locked; off a terminal a line each, with tabs', {
  offline: true, values: { search: 'those with this text in their address', limit: 'the first N of them' },
})
ask(user, 'show', '<jid>', 'Show an account', { offline: true })
ask(user, 'lock', '<jid> [reason...]', 'Keep an account from logging in, and end its sessions', { offline: true })
ask(user, 'unlock', '<jid>', 'Let it log in again', { offline: true })
const session = program.command('session').description('Devices that are online')
ask(session, 'list', '[jid]', 'List them: all, those of a host or those of an account')
ask(session, 'kick', '<jid>', 'End the sessions of an account, or one of them')
const s2s = ask(program, 's2s', '', 'List the links to other servers')
ask(s2s, 'test', '<domain> [from]', 'Try the way to another domain, from the first host or that one, and say what fails and who has to mend it')
ask(program, 'status', '', 'Say how the server is')
ask(program, 'metrics', '', 'Print all that is counted and measured, in the text format of Prometheus')
ask(program, 'traffic', '', 'Say how much came and went by kind since the start, what share each has, and what was spared')
ask(program, 'mam', '<jid> [setting] [value]', 'Show how much the archive of an account holds, or say how long it keeps what (expire 30d, keep 1000, default)')
ask(program, 'push', '<jid>', 'List the app servers that call the devices of an account')
ask(program, 'reload', '', 'Take over the conf file')
ask(program, 'stop', '', 'Stop the server; returns when it has stopped')
ask(program, 'hooks', '', 'List what runs at each hook, in order')
ask(program, 'backup', '<file>', 'Write a consistent copy of the storage, also while the server runs', { offline: true, files: 1 })
ask(program, 'export', '<file> [jid...]', 'Write accounts, of all hosts or of those named, into a file that other servers read (XEP-0227)', { offline: true, files: 1 })
ask(program, 'import', '<file...>', 'Take accounts over from files of XEP-0227; run it again to go on where it was interrupted', {
  offline: true,
  files: Infinity,
  flags: { strict: 'end at the first thing that cannot be taken, instead of leaving it out', merge: 'accounts that are here already take over what the files have, too' },
})

program.command('restore').description('Put a backup in the place of what is stored, while no server runs').argument('<file>', 'what `sestina backup` wrote')
  .option('--conf <file>', 'the conf file').option('--overwrite', 'where there is a database already, put it aside').option('--json', 'print JSON')
  .action(async (file: string, how: { readonly conf?: string, readonly overwrite?: boolean, readonly json?: boolean }) => {
    const { data, storage } = (await readConf(confFile(how.conf))).server
    const restored = restoreStorage({ driver: storage.driver, folder: data }, resolve(file), how.overwrite === true)
    show(how.json === true ? restored : `restored: ${restored.rows} rows in ${restored.stores} stores`, how.json === true)
  })

function ask (parent: Command, name: string, args: string, about: string, how: Needs = {}): Command {
  const command = parent.command(`${name} ${args}`.trim()).description(about)
    .option('--conf <file>', 'the conf file').option('--json', 'print JSON')
  if (how.password === true) command.option('--password-stdin', 'read the password from standard input')
  if (how.confirm !== undefined) command.option('--yes', 'do not ask whether it is meant')
  for (const [flag, says] of Object.entries(how.flags ?? {})) command.option(`--${flag}`, says)
  for (const [option, says] of Object.entries(how.values ?? {})) command.option(`--${option} <value>`, says)
  command.action(async (...given: readonly unknown[]) => {
    const options = command.opts<Asking>()
    const words = given.slice(0, -2).flat().filter(word => typeof word === 'string')
    const files = how.files ?? 0
    const flags = (['strict', 'merge'] as const).filter(flag => options[flag] === true).map(flag => `--${flag}`)
    const values = (['search', 'limit'] as const).flatMap(name => options[name] === undefined ? [] : [`--${name}=${options[name]}`])
    // Before a password is asked for, twice.
    const isMany = options.csv === true
    if (isMany && words.length > 0) command.error('error: with --csv the addresses stand in the list')
    if (how.password === true && !isMany && words.length === 0) command.error("error: missing required argument 'jid'")
    if (how.password === true && !isMany) checkAccount(words[0])
    if (how.confirm !== undefined && options.yes !== true) await mustBeMeant(how.confirm(words[0] ?? ''))
    const input = isMany ? readFileSync(0, 'utf8') : how.password === true ? await readPassword(options.passwordStdin === true) : undefined
    const question: Question = {
      command: parent === program ? name : `${parent.name()} ${name}`,
      args: [...words.map((word, index) => index < files ? resolve(word) : word), ...flags, ...values, ...isMany ? ['--csv'] : []],
      ...input === undefined ? {} : { input },
    }
    const said = await put(question, confFile(options.conf), how.offline === true)
    show(said, options.json === true)
    if (hasProblems(said)) process.exitCode = EXIT.data
    if (hasFailed(said)) process.exitCode = EXIT.failed
  })
  return command
}

/** To the server that runs; for accounts, to one that is woken for the question where none does. */
async function put (question: Question, file: string, offline: boolean): Promise<unknown> {
  const config = await readConf(file)
  const meanwhile = new Meanwhile()
  const heard = (told: Told): void => { meanwhile.heard(told) }
  try {
    const said = await askAdmin(socketOf(config), question, heard)
    if (said !== undefined) return said.result
    if (!offline) throw new Unavailable('no server runs with this conf file')
    if (config.server.storage.driver === 'memory') throw new Unavailable('no server runs with this conf file, and its storage is in its memory')
    return await woken(question, file, heard)
  } finally {
    meanwhile.clear()
  }
}

async function woken (question: Question, file: string, heard: (told: Told) => void): Promise<unknown> {
  const running = await start({ file, modules: await findModules(MODULES), log: silent, env, quiet: true })
  let gone = false
  const interrupt = (): void => { gone = true }
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  try {
    const talk = {
      get gone () { return gone },
      tell: async (told: Told) => { heard(told); return Promise.resolve() },
    }
    return await answer(worldOf(running, () => Promise.resolve()), question, talk)
  } finally {
    await running.stop()
  }
}

class Unavailable extends Error {}

/** A list of steps, the last of which is the verdict. */
function hasFailed (said: unknown): boolean {
  const last: unknown = Array.isArray(said) ? said.at(-1) : undefined
  return typeof last === 'object' && last !== null && 'ok' in last && last.ok === 'FAILS'
}

function hasProblems (said: unknown): boolean {
  return typeof said === 'object' && said !== null && 'problems' in said && typeof said.problems === 'number' && said.problems > 0
}

async function readPassword (fromStdin: boolean): Promise<string> {
  if (fromStdin) return readFileSync(0, 'utf8').split('\n', 1)[0]?.replace(/\r$/, '') ?? ''
  if (!process.stdin.isTTY) throw new CommandError('there is no terminal to ask for a password; use --password-stdin')
  const first = await askPassword({ message: 'Password' })
  const second = isCancel(first) ? first : await askPassword({ message: 'Once more' })
  if (isCancel(first) || isCancel(second)) throw new CommandError('nothing was changed')
  if (first !== second) throw new CommandError('these are two passwords; nothing was changed')
  return first
}

/** Throws CommandError unless somebody at a terminal says yes. */
async function mustBeMeant (message: string): Promise<void> {
  if (!process.stdin.isTTY) throw new CommandError('there is no terminal to ask whether this is meant; use --yes')
  const said = await confirm({ message, initialValue: false })
  if (isCancel(said) || !said) throw new CommandError('nothing was changed')
}

/** What went wrong, in words and as a number. */
function fail (error: unknown): never {
  // commander has said what is wrong; 0 is help and the version.
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : EXIT.usage)
  process.stderr.write(`${explain(error)}\n`)
  process.exit(error instanceof ConfigProblems ? EXIT.conf : error instanceof Unavailable ? EXIT.unavailable : EXIT.failed)
}

program.command('completion').description('Print what a shell completes the command with').addArgument(new Argument('<shell>').choices(SHELLS))
  .addHelpText('after', '\nbash: source <(sestina completion bash)\nzsh:  source <(sestina completion zsh), after compinit\nfish: sestina completion fish | source')
  .action((shell: typeof SHELLS[number]) => { process.stdout.write(completion(program, shell)) })

await program.parseAsync().catch(fail)
