#!/usr/bin/env node
/** The one command: starts a server, and asks it things over its local socket; accounts also while no server runs. */
import { existsSync, readFileSync } from 'node:fs'
import { resolveSrv } from 'node:dns/promises'
import { join, relative, resolve } from 'node:path'
import { spawnSync } from 'node:child_process'
import { password as askPassword, isCancel } from '@clack/prompts'
import Table from 'cli-table3'
import { Command } from 'commander'
import pc from 'picocolors'
import { answer, CommandError, type AdminWorld, type Question } from '../lib/admin/commands.js'
import { askAdmin, serveAdmin } from '../lib/admin/socket.js'
import { openLogger, silent, type Logger } from '../lib/base/logger.js'
import { PACKAGE_ROOT, VERSION } from '../lib/base/package.js'
import { describe } from '../lib/config/describe.js'
import { loadConfig, type Config } from '../lib/config/load.js'
import { ConfigProblems } from '../lib/config/problem.js'
import { findModules, goesOn, schemasOf, start, type Running } from '../lib/main.js'
import { explain } from './explain.js'
import { greeting } from './greeting.js'

/** sysexits.h: what an init system understands. */
const EXIT = { failed: 1, unavailable: 69, conf: 78 } as const
/** File descriptors below which a server of many clients would run out of them. */
const FEW_FILES = 4096
const MODULES = join(PACKAGE_ROOT, import.meta.url.endsWith('.ts') ? 'modules' : 'dist/modules')

const program = new Command('sestina').description('Sestina, an XMPP server').version(VERSION)
const env = (name: string): string | undefined => process.env[name]

function confFile (given: string | undefined): string {
  const found = [given, process.env['SESTINA_CONF'], 'sestina.toml', 'conf/sestina.toml', join(PACKAGE_ROOT, 'conf', 'sestina.toml')]
    .find(file => file !== undefined && (file === given || existsSync(file)))
  return resolve(found ?? 'sestina.toml')
}

async function read (file: string): Promise<Config> {
  return loadConfig(file, schemasOf(await findModules(MODULES)), env)
}

// ---- Start ----------------------------------------------------------------------------

program.command('start').description('Start the server, and stay in the foreground').option('--conf <file>', 'the conf file')
  .action(run(async ({ conf }: { readonly conf?: string }) => {
    const file = confFile(conf)
    const modules = await findModules(MODULES)
    const config = loadConfig(file, schemasOf(modules), env)
    const log = openLogger({ level: config.server.log.level, format: config.server.log.format, output: process.stdout })
    const running = await start({ file, modules, log, env })
    const world = worldOf(running, () => { void stop() })
    const admin = await serveAdmin(socketOf(running.config), world, log)
    let stopping: Promise<void> | undefined
    const stop = (): Promise<void> => stopping ??= (async () => {
      log.info('stopping')
      notify('STOPPING=1')
      await running.stop()
      await admin.close()
      log.info('stopped')
      process.exit(0)
    })()
    process.on('SIGTERM', () => { void stop() }).on('SIGINT', () => { void stop() })
    process.on('SIGHUP', () => { running.reload().catch((error: unknown) => { log.error('not reloaded', { error }) }) })
    goesOn(log)
    warnOfFiles(log)
    notify('READY=1')
    log.info('ready', { version: VERSION, conf: file })
    greet(running, file)
  }))

function greet (running: Running, file: string): void {
  if (running.config.server.log.format !== 'pretty') return // machines read on
  const { config, listening, certificates } = running
  const domains = [...config.hosts.keys()]
  const selfSigned = certificates?.report().find(({ domain }) => domain === domains[0])?.selfSigned === true
  const conf = confFile(undefined) === file ? '' : ` --conf ${relative(process.cwd(), file)}`
  const command = (words: string): string => `${PACKAGE_ROOT.includes('node_modules') ? 'sestina' : 'npx sestina'} ${words}${conf}`
  process.stdout.write(greeting({ version: VERSION, domains, listening, selfSigned, command }))
}

function worldOf (running: Running, stop: () => void): AdminWorld {
  return {
    server: running.server,
    status: () => ({
      version: VERSION,
      connections: running.connections,
      listening: running.listening,
      certificates: running.certificates?.report().map(report => ({ ...report, notAfter: new Date(report.notAfter).toISOString() })) ?? [],
    }),
    reload: () => running.reload(),
    stop,
  }
}

function socketOf (config: Config): string { return join(config.server.data, 'admin.sock') }

/** systemd(7): Type=notify. The variable is there only under it. */
function notify (state: string): void {
  if (process.env['NOTIFY_SOCKET'] !== undefined) spawnSync('systemd-notify', [state], { stdio: 'ignore' })
}

function warnOfFiles (log: Logger): void {
  if (!existsSync('/proc/self/limits')) return
  const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
  if (soft === undefined || Number(soft) >= FEW_FILES) return
  log.warn('few file descriptors', { limit: Number(soft), wanted: FEW_FILES, hint: 'ulimit -n, or LimitNOFILE= in the unit' })
}

// ---- Check -------------------------------------------------------------------------------

program.command('check').description('Say what is wrong with the conf file, without touching the server').argument('[file]', 'the conf file')
  .option('--full', 'print the settings in force, each with the place it came from').option('--dns', 'print the SRV records to set, and what DNS says today')
  .option('--json', 'print JSON')
  .action(run(async (given: string | undefined, how: { readonly full?: boolean, readonly dns?: boolean, readonly json?: boolean }) => {
    const file = confFile(given)
    const config = await read(file)
    if (how.full === true) show(describe(config), how.json === true)
    else if (how.dns === true) show(await records(config), how.json === true)
    else process.stdout.write(`${file} is fine\n`)
  }))

async function records (config: Config): Promise<unknown[]> {
  const wanted = config.server.listen.map(({ port, tls }) => ({ service: tls === 'direct' ? '_xmpps-client._tcp' : '_xmpp-client._tcp', port }))
  const rows: unknown[] = []
  for (const domain of config.hosts.keys()) {
    for (const { service, port } of wanted) {
      rows.push({ record: `${service}.${domain}. SRV 5 1 ${port} ${domain}.`, today: await today(`${service}.${domain}`) })
    }
  }
  return rows
}

async function today (name: string): Promise<string> {
  try {
    return (await resolveSrv(name)).map(({ name, port, priority, weight }) => `${priority} ${weight} ${port} ${name}`).join(', ')
  } catch (error) {
    return error instanceof Error && 'code' in error ? `nothing (${String(error.code)})` : 'nothing'
  }
}

// ---- What the server is asked ------------------------------------------------------------------

interface Asking { readonly conf?: string, readonly json?: boolean, readonly passwordStdin?: boolean }

const user = program.command('user').description('Accounts')
ask(user, 'add', '<jid>', 'Add an account', { password: true, offline: true })
ask(user, 'password', '<jid>', 'Set a password', { password: true, offline: true })
ask(user, 'remove', '<jid>', 'Remove an account and all it has', { offline: true })
ask(user, 'list', '[domain]', 'List the accounts', { offline: true })
ask(user, 'show', '<jid>', 'Show an account', { offline: true })
ask(user, 'lock', '<jid> [reason...]', 'Keep an account from logging in, and end its sessions', { offline: true })
ask(user, 'unlock', '<jid>', 'Let it log in again', { offline: true })
const session = program.command('session').description('Devices that are online')
ask(session, 'list', '[jid]', 'List them')
ask(session, 'kick', '<jid>', 'End the sessions of an account, or one of them')
ask(program, 'status', '', 'Say how the server is')
ask(program, 'reload', '', 'Take over the conf file')
ask(program, 'stop', '', 'Stop the server')
ask(program, 'hooks', '', 'List what runs at each hook, in order')
ask(program, 'backup', '<file>', 'Write a consistent copy of the storage while the server runs')

interface Needs { readonly password?: boolean, readonly offline?: boolean }

function ask (parent: Command, name: string, args: string, about: string, how: Needs = {}): void {
  const command = parent.command(`${name} ${args}`.trim()).description(about)
    .option('--conf <file>', 'the conf file').option('--json', 'print JSON')
  if (how.password === true) command.option('--password-stdin', 'read the password from standard input')
  command.action(run(async (...given: readonly unknown[]) => {
    const options = command.opts<Asking>()
    const words = given.slice(0, -2).flat().filter(word => typeof word === 'string')
    const input = how.password === true ? await readPassword(options.passwordStdin === true) : undefined
    const title = parent === program ? name : `${parent.name()} ${name}`
    const file = name === 'backup' ? words.map(word => resolve(word)) : words
    const question = { command: title, args: file, ...input === undefined ? {} : { input } }
    show(await put(question, confFile(options.conf), how.offline === true), options.json === true)
  }))
}

/** To the server that runs; for accounts, to one that is woken for the question where none does. */
async function put (question: Question, file: string, offline: boolean): Promise<unknown> {
  const config = await read(file)
  const said = await askAdmin(socketOf(config), question)
  if (said !== undefined) return said.result
  if (!offline) throw new Unavailable('no server runs with this conf file')
  const running = await start({ file, modules: await findModules(MODULES), log: silent, env, quiet: true })
  try {
    return await answer(worldOf(running, () => {}), question)
  } finally {
    await running.stop()
  }
}

class Unavailable extends Error {}

async function readPassword (fromStdin: boolean): Promise<string> {
  if (fromStdin) return readFileSync(0, 'utf8').split('\n', 1)[0]?.replace(/\r$/, '') ?? ''
  if (!process.stdin.isTTY) throw new CommandError('there is no terminal to ask for a password; use --password-stdin')
  const first = await askPassword({ message: 'Password' })
  const second = isCancel(first) ? first : await askPassword({ message: 'Once more' })
  if (isCancel(first) || isCancel(second)) throw new CommandError('nothing was changed')
  if (first !== second) throw new CommandError('these are two passwords; nothing was changed')
  return first
}

// ---- What is printed ----------------------------------------------------------------------------

function show (result: unknown, json: boolean): void {
  if (json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
  else if (typeof result === 'string') process.stdout.write(`${result}\n`)
  else if (Array.isArray(result)) process.stdout.write(`${tableOf(result)}\n`)
  else if (typeof result === 'object' && result !== null) {
    for (const [name, value] of Object.entries(result)) {
      process.stdout.write(`${pc.bold(name)}: ${typeof value === 'string' ? value : JSON.stringify(value)}\n`)
    }
  }
}

function tableOf (rows: readonly unknown[]): string {
  const objects = rows.filter(row => typeof row === 'object' && row !== null)
  const [first] = objects
  if (first === undefined) return 'none'
  const head = Object.keys(first)
  const table = new Table({ head: head.map(name => pc.bold(name)), style: { head: [], border: [] } })
  for (const row of objects) {
    const cells = new Map(Object.entries(row))
    table.push(head.map(name => String(cells.get(name) ?? '')))
  }
  return table.toString()
}

function run<A extends readonly unknown[]> (work: (...args: A) => Promise<void>): (...args: A) => Promise<void> {
  return async (...args) => {
    try {
      await work(...args)
    } catch (error) {
      process.stderr.write(`${explain(error)}\n`)
      process.exit(error instanceof ConfigProblems ? EXIT.conf : error instanceof Unavailable ? EXIT.unavailable : EXIT.failed)
    }
  }
}

await program.parseAsync()
