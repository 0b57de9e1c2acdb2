/**
 * The command `sestina`: starts a server, and sends it other commands over its local socket. Commands about accounts
 * and storage also work while no server runs.
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { password as askPassword, confirm, isCancel } from '@clack/prompts'
import { Argument, Command, CommanderError } from 'commander'
import { runCommand, checkAccount, type CommandRequest } from '../lib/admin/commands.js'
import { askAdmin } from '../lib/admin/socket.js'
import { CommandError, type Report } from '../lib/admin/talk.js'
import { silent } from '../lib/base/logger.js'
import { VERSION } from '../lib/base/package.js'
import { dataFolderOf } from '../lib/config/data-folder.js'
import { ConfigProblems } from '../lib/config/problem.js'
import { MIN_PASSWORD_LENGTH } from '../lib/config/server.js'
import { check, type Checking } from './check.js'
import { completion, SHELLS } from './completion.js'
import { explain } from './explain.js'
import { init, objectionOf } from './init.js'
import { Library, restoreStorage, start } from '../lib/main.js'
import { endWithReader } from './output.js'
import { confFile, env, MODULES, PLACES, readConf, socketIn } from './place.js'
import { serve, worldOf } from './serve.js'
import { Meanwhile, show } from './show.js'
import { TracePrinter } from './trace.js'

/** Exit codes after sysexits.h, for init systems and scripts. */
const EXIT = { failed: 1, usage: 64, data: 65, unavailable: 69, conf: 78 } as const

endWithReader()

const program = new Command('sestina').description('Sestina, an XMPP server').version(VERSION)
  .exitOverride().showHelpAfterError('(use --help for help)').enablePositionalOptions().addHelpText('afterAll', `\n${PLACES}`)

program.command('start').description('Start the server, and stay in the foreground').option('--conf <file>', 'the conf file')
  .action(async ({ conf }: { readonly conf?: string }) => { await serve(confFile(conf)) })

// ---- Check -------------------------------------------------------------------------------

program.command('check').description('Report the problems a start would have: conf file, certificates, ports, storage; changes nothing').argument('[file]', 'the conf file')
  .option('--conf <file>', 'the conf file').option('--full', 'print the settings in force, each with the place it came from')
  .option('--dns', 'print the SRV records to set, and those in DNS now; the exit code is 1 unless all are right')
  .option('--resolver <address>', 'ask this DNS server (IP, or IP:port) instead of the default one').option('--json', 'print JSON')
  .action(async (given: string | undefined, how: Checking & { readonly conf?: string }) => {
    const verdict = await check(confFile(given ?? how.conf), how)
    if (verdict !== 'fine') process.exitCode = verdict === 'conf' ? EXIT.conf : EXIT.failed
  })

interface Initiating { readonly domain?: string, readonly admin?: string, readonly passwordStdin?: boolean }
interface Restoring { readonly conf?: string, readonly overwrite?: boolean, readonly json?: boolean }

// ---- Init --------------------------------------------------------------------------------

program.command('init').description('Make a conf file and a data folder, and add the first administrator')
  .argument('[folder]', 'the folder for both; by default the usual places of this user')
  .option('--domain <domain>', 'the domain of the accounts').option('--admin <jid>', 'the first administrator').option('--password-stdin', 'read the password from standard input')
  .action(async (folder: string | undefined, how: Initiating) => {
    show(await init({
      folder, domain: how.domain, admin: how.admin,
      password: check => readPassword(how.passwordStdin === true, check),
      add: (conf, jid, password) => put({ command: 'user add', args: [jid], input: password }, conf, true),
    }), false)
  })

// ---- Commands that the server answers ----------------------------------------------------------

/** The options of a command that the server answers. */
interface Asking {
  readonly conf?: string
  readonly json?: boolean
  readonly passwordStdin?: boolean
  readonly strict?: boolean
  readonly merge?: boolean
  readonly bodies?: boolean
  readonly csv?: boolean
  readonly search?: string
  readonly limit?: string
  readonly yes?: boolean
}

/** The needs of a command besides its words. */
interface Needs {
  /** The command needs a password, for the account in the first word. */
  readonly password?: boolean
  /**
   * The command destroys something for good, so the operator must confirm it. Returns the question for the first word.
   */
  readonly confirm?: (word: string) => string
  /** The command also works while no server runs. */
  readonly offline?: boolean
  /** The number of words, from the first one, that are paths of files. */
  readonly files?: number
  /** The word that is the path of a file, counted from 0. */
  readonly fileAt?: number
  /** Options that are sent to the server as words. */
  readonly flags?: Readonly<Partial<Record<'strict' | 'merge' | 'bodies', string>>>
  /** Options with a value that are sent to the server as words. */
  readonly values?: Readonly<Partial<Record<'search' | 'limit', string>>>
}

const user = program.command('user').description('Accounts')
ask(user, 'add', '[jid]', 'Add an account, or with --csv many accounts from standard input', { password: true, offline: true })
  .option('--csv', 'add many: lines of address,password or address,,SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY from standard input')
ask(user, 'password', '<jid>', 'Set a password', { password: true, offline: true })
ask(user, 'remove', '<jid>', 'Remove an account with all its data', { offline: true, confirm: jid => `Remove ${jid} with all its data?` })
ask(user, 'list', '[domain]', 'List the accounts: address, creation, why locked; without a terminal one line each, with tabs', {
  offline: true, values: { search: 'only accounts with this text in their address', limit: 'only the first N accounts' },
})
ask(user, 'show', '<jid>', 'Show an account', { offline: true })
ask(user, 'lock', '<jid> [reason...]', 'Lock an account: end its sessions and refuse its logins', { offline: true })
ask(user, 'unlock', '<jid>', 'Unlock an account: accept its logins again', { offline: true })
const session = program.command('session').description('Sessions of devices')
ask(session, 'list', '[jid]', 'List the sessions: all, those of a host or those of an account')
ask(session, 'kick', '<jid>', 'End all sessions of an account, or one of them')
const s2s = ask(program, 's2s', '', 'List the connections to other servers')
ask(s2s, 'test', '<domain> [from]', 'Test the connection to another domain, from the first host or from `from`: say what fails, and who has to mend it')
ask(program, 'status', '', 'Show the state of the server')
ask(program, 'metrics', '', 'Print all metrics, in the text format of Prometheus')
ask(program, 'trace', '<address>', 'Show live the way of each stanza from or to an account, a device, an entity or a host, until Ctrl-C', {
  flags: { bodies: 'also show the content of the stanzas, without passwords and the like' },
})
ask(program, 'traffic', '', 'Show the traffic since the start, by kind, and what was saved')
ask(program, 'mam', '<jid> [setting] [value]', 'Show the size of an account\'s archive, or set how much it keeps (expire 30d, keep 1000, default)')
const room = program.command('room').description('The rooms of group chat')
ask(room, 'list', '', 'List the rooms: address, name, creator, and whether each is public, persistent, and for members only')
ask(room, 'show', '<jid>', 'Show the configuration, the occupants and the affiliations of a room')
ask(room, 'create', '<jid> <owner>', 'Make a persistent room')
ask(room, 'set', '<jid> <setting> [value...]', 'Change a setting of a room, such as `membersonly 1`')
ask(room, 'occupants', '<jid>', 'List who is in a room, with real addresses')
ask(room, 'affiliations', '<jid> [user] [affiliation]', 'List who belongs to a room, or change that: owner, admin, member, outcast, none')
ask(room, 'destroy', '<jid>', 'Remove a room with its archive, and tell everybody in it')
const upload = program.command('upload').description('The files that people have sent over HTTP')
ask(upload, 'list', '<jid>', 'List the files of an account: id, name, bytes, type, when it was sent, when it ends, address')
ask(upload, 'remove', '<jid> <file>', 'Remove a file of an account by its id, or all of them ("all")')
const nodes = program.command('pubsub').description('The nodes of publish-subscribe services')
ask(nodes, 'export', '<domain> <file>', 'Write the nodes of a service to a file: one JSON value a line, for each node and each item', { offline: true, fileAt: 1 })
ask(nodes, 'import', '<domain> <file>', 'Import nodes from such a file; run it again to continue an interrupted import', { offline: true, fileAt: 1 })
ask(program, 'push', '<jid>', 'List the app servers that send push notifications for an account')
ask(program, 'reload', '', 'Apply the changed conf file')
ask(program, 'stop', '', 'Stop the server, and wait until it has stopped')
ask(program, 'hooks', '', 'List the handlers of each hook, in order')
const storage = program.command('storage').description('The stored data')
ask(storage, 'aside', '', 'List the stored items that could not be read and were put aside: owner, store, time, reason, bytes', {
  offline: true, values: { limit: 'only the first N items; 100 by default' },
})
ask(program, 'backup', '<file>', 'Write a consistent copy of the storage; the server may run', { offline: true, files: 1 })
ask(program, 'export', '<file> [jid...]', 'Write all accounts, or those named, to a file that other servers read (XEP-0227)', { offline: true, files: 1 })
ask(program, 'import', '<file...>', 'Import accounts from files of XEP-0227; run it again to continue an interrupted import', {
  offline: true,
  files: Infinity,
  flags: { strict: 'end at the first element that cannot be imported, instead of leaving it out', merge: 'also import the elements of accounts that exist already' },
})

program.command('restore').description('Replace the stored data by a backup, while no server runs').argument('<file>', 'a file that `sestina backup` has written')
  .option('--conf <file>', 'the conf file').option('--overwrite', 'if there is a database already, put it aside').option('--json', 'print JSON')
  .action(async (file: string, how: Restoring) => {
    const { data, storage } = (await readConf(confFile(how.conf))).server
    const restored = restoreStorage({ driver: storage.driver, folder: data }, resolve(file), how.overwrite === true)
    show(how.json === true ? restored : `restored: ${restored.rows} rows in ${restored.stores} stores`, how.json === true)
  })

/** Declares a command that the server answers. */
function ask (parent: Command, name: string, args: string, about: string, how: Needs = {}): Command {
  const command = parent.command(`${name} ${args}`.trim()).description(about)
    .option('--conf <file>', 'the conf file').option('--json', 'print JSON')
  if (how.password === true) command.option('--password-stdin', 'read the password from standard input')
  if (how.confirm !== undefined) command.option('--yes', 'do not ask for confirmation')
  for (const [flag, says] of Object.entries(how.flags ?? {})) command.option(`--${flag}`, says)
  for (const [option, says] of Object.entries(how.values ?? {})) command.option(`--${option} <value>`, says)
  command.action(async (...given: readonly unknown[]) => {
    const options = command.opts<Asking>()
    const words = given.slice(0, -2).flat().filter(word => typeof word === 'string')
    checkWords(command, words, how, options)
    const conf = confFile(options.conf)
    if (how.confirm !== undefined && options.yes !== true) await confirmed(how.confirm, words, conf, how)
    const input = await inputOf(how, options)
    const question: CommandRequest = {
      command: parent === program ? name : `${parent.name()} ${name}`,
      args: [...words.map((word, index) => isPath(how, index) ? resolve(word) : word), ...wordsOf(options)],
      ...input === undefined ? {} : { input },
    }
    const said = await put(question, conf, how.offline === true, options.json)
    show(said, options.json === true)
    if (hasProblems(said)) process.exitCode = EXIT.data
    if (hasFailed(said)) process.exitCode = EXIT.failed
  })
  return command
}

/** True if the word at this place is the path of a file. */
function isPath ({ files = 0, fileAt }: Needs, index: number): boolean { return index < files || index === fileAt }

/** Ends the command if its words cannot be right. This comes before the operator types a password twice. */
function checkWords (command: Command, words: readonly string[], { password }: Needs, { csv }: Asking): void {
  if (csv === true) {
    if (words.length > 0) command.error('error: with --csv the addresses are in the list, not on the command line')
  } else if (password === true) {
    if (words.length === 0) command.error("error: missing required argument 'jid'")
    checkAccount(words[0])
  }
}

/** Throws CommandError unless the account in the first word exists and the operator confirms the question. */
async function confirmed (
  question: (word: string) => string, words: readonly string[], conf: string, { offline }: Needs,
): Promise<void> {
  checkAccount(words[0])
  await put({ command: 'user show', args: words }, conf, offline === true)
  await mustBeMeant(question(words[0] ?? ''))
}

/** Returns the options that are sent to the server as words. */
function wordsOf (options: Asking): readonly string[] {
  const flags = (['strict', 'merge', 'csv', 'bodies'] as const).filter(flag => options[flag] === true).map(flag => `--${flag}`)
  const values = (['search', 'limit'] as const).flatMap(name => {
    const value = options[name]
    return value === undefined ? [] : [`--${name}=${value}`]
  })
  return [...flags, ...values]
}

/** Returns the input that must not be on the command line: a list of accounts, a password, or nothing. */
async function inputOf ({ password }: Needs, { csv, passwordStdin }: Asking): Promise<string | undefined> {
  if (csv === true) return readFileSync(0, 'utf8')
  return password === true ? await readPassword(passwordStdin === true) : undefined
}

/**
 * Asks the running server, for which the path of its socket is enough. If none runs and the command allows it, starts
 * one for this question alone.
 */
async function put (question: CommandRequest, file: string, offline: boolean, json = false): Promise<unknown> {
  const meanwhile = new Meanwhile()
  const steps = new TracePrinter(json)
  const heard = (told: Report): void => { if (!steps.heard(told)) meanwhile.heard(told) }
  try {
    const said = await askAdmin(socketIn(dataFolderOf(file)), question, heard)
    if (said !== undefined) return said.result
    if (!offline) throw new Unavailable('no server runs with this conf file')
    if ((await readConf(file)).server.storage.driver === 'memory') throw new Unavailable('no server runs with this conf file, and its storage would be in memory')
    return await woken(question, file, heard)
  } finally {
    meanwhile.clear()
  }
}

async function woken (question: CommandRequest, file: string, heard: (told: Report) => void): Promise<unknown> {
  const running = await start({ file, modules: await new Library(MODULES).find(file), log: silent, env, quiet: true })
  let gone = false
  const interrupt = (): void => { gone = true }
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  try {
    const talk = {
      get gone () { return gone },
      tell: async (told: Report) => { heard(told); return Promise.resolve() },
    }
    return await runCommand(worldOf(running, () => Promise.resolve()), question, talk)
  } finally {
    await running.stop()
  }
}

/** No server runs, and the command needs one. */
class Unavailable extends Error {}

/** True if the answer is a list of steps and the last one, which is the verdict, has failed. */
function hasFailed (said: unknown): boolean {
  const last: unknown = Array.isArray(said) ? said.at(-1) : undefined
  return typeof last === 'object' && last !== null && 'ok' in last && last.ok === 'FAILS'
}

function hasProblems (said: unknown): boolean {
  return typeof said === 'object' && said !== null && 'problems' in said && typeof said.problems === 'number' && said.problems > 0
}

/**
 * Returns a password from standard input or from the terminal, which asks again while `check` throws. Rejects with what
 * it throws for one from standard input.
 */
async function readPassword (fromStdin: boolean, check: (password: string) => void = () => {}): Promise<string> {
  if (fromStdin) {
    const said = readFileSync(0, 'utf8').split('\n', 1)[0]?.replace(/\r$/, '') ?? ''
    check(said)
    return said
  }
  if (!process.stdin.isTTY) throw new CommandError('there is no terminal to ask for a password; use --password-stdin')
  const first = await askPassword({
    message: `Password (at least ${MIN_PASSWORD_LENGTH} characters, unless the conf file sets another length)`,
    validate: said => objectionOf(() => { check(said ?? '') }),
  })
  const second = isCancel(first) ? first : await askPassword({
    message: 'Password again', validate: said => said === first ? undefined : 'it differs from the first; Ctrl-C changes nothing',
  })
  if (isCancel(first) || isCancel(second)) throw new CommandError('nothing was changed')
  return first
}

/** Throws CommandError unless the operator confirms at a terminal. */
async function mustBeMeant (message: string): Promise<void> {
  if (!process.stdin.isTTY) throw new CommandError('there is no terminal to ask for confirmation; use --yes')
  const said = await confirm({ message, initialValue: false })
  if (isCancel(said) || !said) throw new CommandError('nothing was changed')
}

/** Ends the process with a message on standard error and an exit code. */
function fail (error: unknown): never {
  // commander has printed the mistake. Code 0 is for --help and --version.
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : EXIT.usage)
  process.stderr.write(`${explain(error)}\n`)
  if (error instanceof ConfigProblems) process.exit(EXIT.conf)
  process.exit(error instanceof Unavailable ? EXIT.unavailable : EXIT.failed)
}

program.command('completion').description('Print a completion script for a shell').addArgument(new Argument('<shell>').choices(SHELLS))
  .addHelpText('after', '\nbash: source <(sestina completion bash)\nzsh:  source <(sestina completion zsh), after compinit\nfish: sestina completion fish | source')
  .action((shell: typeof SHELLS[number]) => { process.stdout.write(completion(program, shell)) })

await program.parseAsync().catch(fail)
