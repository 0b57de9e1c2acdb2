/** `sestina start`: runs a server in the foreground, until a signal or `sestina stop` ends it. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { metricsOf } from '../lib/admin/metrics.js'
import type { AdminDeps } from '../lib/admin/world.js'
import type { Metric } from '../lib/admin/world.js'
import { serveAdmin, type AdminSocket } from '../lib/admin/socket.js'
import { openLogger, type Fields, type Logger, type LogLevel } from '../lib/base/logger.js'
import { VERSION } from '../lib/base/package.js'
import { loadConfig } from '../lib/config/load.js'
import { ConfigProblems, writePlace } from '../lib/config/problem.js'
import { goesOn, Library, start, type Running } from '../lib/main.js'
import { explain } from './explain.js'
import { greeting } from './greeting.js'
import { serverOutput, watchTerminal } from './output.js'
import { COMMAND, env, foundConf, MODULES, socketIn } from './place.js'

/** With fewer file descriptors, a server with many clients would run out of them. */
const FEW_FILES = 4096
/** How long to wait for systemd-notify, in milliseconds. */
const NOTIFY_TIMEOUT = 5000

interface Up { readonly running: Running, readonly admin: AdminSocket }

/** Starts a server; resolves when it is up. The server ends the process itself. Throws if it cannot start. */
export async function serve (file: string): Promise<void> {
  collectInOneThread()
  const library = new Library(MODULES)
  const modules = await library.find(file)
  const { log: wanted, data } = loadConfig(file, modules, env).server
  const output = serverOutput()
  const format = wanted.format === 'auto' ? output.isTTY ? 'pretty' : 'json' : wanted.format
  const log = openLogger({ level: wanted.level, format, output })

  log.info('server starting', { version: VERSION, conf: file })

  // The handlers are set before anything is opened: a signal during the start ends the server in order once it is up.
  let stopping: Promise<void> | undefined
  const stop = (): Promise<void> => stopping ??= end(log, up)
  const told = (): void => {
    if (stopping !== undefined) process.exit(EXIT_INSISTED)
    void stop()
  }
  process.on('SIGTERM', told).on('SIGINT', told)
  const isTerminalClosed = watchTerminal()
  process.on('SIGHUP', () => {
    // The kernel, the shell and npm may each send a SIGHUP when a terminal is closed.
    if (isTerminalClosed()) void stop()
    else void up.then(({ running }) => running.reload()).catch((error: unknown) => { log.error('conf not reloaded', mistakesIn(error)) })
  })

  const setLogLevel = (level: LogLevel): void => { log.setLevel(level) }
  const metrics = (running: Running, isOpenMetrics: boolean): string => metricsOf(worldOf(running, stop), isOpenMetrics)
  const begin = async (): Promise<Running> => await start({ file, modules, library, log, setLogLevel, metrics, env })
  const up = raise(begin, () => stop(), log)
  const { running } = await up
  goesOn(log)
  warnOfRoot(log)
  warnOfFiles(log)
  warnOfFolder(data, log)
  notify('READY=1')
  log.info('server ready', { version: VERSION, conf: file })
  if (format === 'pretty') output.write(greet(running, file)) // programs read the other formats
}

/**
 * Lets one thread collect short-lived objects. V8 would use several at a time: they wait for one another, and a message
 * costs up to a quarter more CPU time (docs/performance.md).
 */
function collectInOneThread (): void { setFlagsFromString('--no-parallel-scavenge') }

/** The exit code after a second signal, from somebody who does not want to wait. */
const EXIT_INSISTED = 130

async function raise (begin: () => Promise<Running>, stop: () => Promise<void>, log: Logger): Promise<Up> {
  const running = await begin()
  try {
    return { running, admin: await serveAdmin(socketIn(running.config.server.data), worldOf(running, stop), log) }
  } catch (error) {
    await running.stop()
    throw error
  }
}

/**
 * Stops the server; resolves after everything is stored. The process ends after the commands under way are answered.
 */
async function end (log: Logger, up: Promise<Up>): Promise<void> {
  const { running, admin } = await up
  log.info('server stopping')
  notify('STOPPING=1')
  const answered = admin.close()
  try {
    await running.stop()
    void answered.then(() => {
      log.info('server stopped')
      process.exit(0)
    })
  } catch (error) {
    log.error('stop failed', { error })
    process.exit(1)
  }
}

/** Returns the fields for a refused reload: the mistakes of the operator as texts, or a defect with its stack. */
function mistakesIn (error: unknown): Fields {
  if (error instanceof ConfigProblems) return { problems: error.message.split('\n') }
  return error instanceof Error && 'code' in error ? { reason: explain(error) } : { error }
}

/** Returns what commands can use of a running server. */
export function worldOf (running: Running, stop: () => Promise<void>): AdminDeps {
  return {
    server: running.server,
    status: () => ({
      version: VERSION,
      memory: `${Math.round(process.memoryUsage.rss() / 1048576)} MiB`,
      connections: running.connections,
      listening: running.listening,
      certificates: running.certificates?.report().map(report => ({
        ...report,
        notBefore: new Date(report.notBefore).toISOString(),
        notAfter: new Date(report.notAfter).toISOString(),
      })) ?? [],
    }),
    measures: () => measuresOf(running),
    federation: running.federation,
    reload: () => running.reload(),
    warnings: () => running.config.formerNames.map(({ place, text }) => `${writePlace(place)}: warning: ${text}`),
    stop,
  }
}

function * measuresOf ({ connections, turnedAway, federation, certificates, server }: Running): Iterable<Metric> {
  const open = 'Open connections, by the kind of peer.'
  yield { name: 'sestina_connections', kind: 'gauge', help: open, value: connections.connections, labels: { peers: 'clients' } }
  if (federation !== undefined) {
    yield { name: 'sestina_connections', kind: 'gauge', help: open, value: federation.counts.connections, labels: { peers: 'servers' } }
  }
  for (const [peers, counts] of [['clients', turnedAway], ['servers', federation?.turnedAway ?? []]] as const) {
    const help = 'Connections that were refused, or closed to make room, by the kind of peer and the reason.'
    for (const { labels, value } of counts) {
      yield { name: 'sestina_connections_turned_away_total', kind: 'counter', help, value, labels: { peers, ...labels } }
    }
  }
  for (const { domain, notAfter } of certificates?.report() ?? []) {
    const help = 'When the certificate of a domain expires, in seconds since 1970.'
    yield { name: 'sestina_certificate_expiry_timestamp_seconds', kind: 'gauge', help, value: notAfter / 1000, labels: { domain } }
  }
  const { rss, heapUsed } = process.memoryUsage()
  const { user, system } = process.cpuUsage()
  yield { name: 'sestina_build_info', kind: 'gauge', help: 'Always 1; the label is the version.', value: 1, labels: { version: VERSION } }
  yield { name: 'process_start_time_seconds', kind: 'gauge', help: 'When the server started, in seconds since 1970.', value: server.since / 1000 }
  yield { name: 'process_cpu_seconds_total', kind: 'counter', help: 'CPU time that the server has used.', value: (user + system) / 1e6 }
  yield { name: 'process_resident_memory_bytes', kind: 'gauge', help: 'Memory of the server process.', value: rss }
  yield { name: 'nodejs_heap_size_used_bytes', kind: 'gauge', help: 'Memory of its JavaScript objects.', value: heapUsed }
  yield {
    name: 'sestina_busy_seconds_total', kind: 'counter', help: 'Time in which the main thread was busy.',
    value: performance.eventLoopUtilization().active / 1000,
  }
}

/** Returns the greeting for the operator at the terminal. */
function greet (running: Running, file: string): string {
  const { config, certificates } = running
  const listening = running.listening.filter(({ for: whom }) => whom === 'clients')
  // A user is added at a host with accounts: these come first.
  const isService = (domain: string): boolean => config.hosts.get(domain)?.service !== undefined
  const domains = [...config.hosts.keys()].sort((a, b) => Number(isService(a)) - Number(isService(b)))
  const made = certificates?.report().find(({ domain, selfSigned }) => domain === domains[0] && selfSigned)
  const conf = isFound(file) ? '' : ` --conf ${relative(process.cwd(), file)}`
  const command = (words: string): string => `${COMMAND} ${words}${conf}`
  return greeting({ version: VERSION, domains, listening, fingerprint: made?.fingerprint, command })
}

/** True if the command finds this conf file without `--conf`. */
function isFound (file: string): boolean {
  try {
    return (process.env['SESTINA_CONF'] === undefined ? foundConf() : resolve(process.env['SESTINA_CONF'])) === file
  } catch (error) {
    if (error instanceof ConfigProblems) return false
    throw error
  }
}

/** Tells systemd the state of the service, for Type=notify (sd_notify(3)). NOTIFY_SOCKET is set only by systemd. */
function notify (state: string): void {
  if (process.env['NOTIFY_SOCKET'] === undefined) return
  spawnSync('systemd-notify', [`--pid=${process.pid}`, state], { stdio: 'ignore', timeout: NOTIFY_TIMEOUT })
}

function warnOfFiles (log: Logger): void {
  if (!existsSync('/proc/self/limits')) return
  const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
  if (soft === undefined || Number(soft) >= FEW_FILES) return
  log.warn('file descriptor limit low', { limit: Number(soft), wanted: FEW_FILES, hint: 'ulimit -n, or LimitNOFILE= in the unit' })
}

/** Warns of running as root: a defect of the server or of its libraries would then affect the whole machine. */
function warnOfRoot (log: Logger): void {
  if (process.getuid?.() !== 0) return
  log.warn('server running as root', { hint: 'start it as its own user; ports below 1024 need only CAP_NET_BIND_SERVICE' })
}

/**
 * Warns if other users can open the data folder, which holds messages and keys. A folder that the server makes is
 * private; the mode of an existing folder is the operator's choice.
 */
function warnOfFolder (data: string, log: Logger): void {
  const mode = statSync(data, { throwIfNoEntry: false })?.mode ?? 0
  if ((mode & 0o077) !== 0) log.warn('data folder open to others', { folder: data, mode: (mode & 0o777).toString(8), hint: 'chmod 700' })
}
