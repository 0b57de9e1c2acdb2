/** `sestina start`: a server in the foreground, until a signal or `sestina stop` ends it. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import type { AdminWorld } from '../lib/admin/commands.js'
import type { Measure } from '../lib/admin/metrics.js'
import { serveAdmin, type AdminSocket } from '../lib/admin/socket.js'
import { openLogger, type Logger, type LogLevel } from '../lib/base/logger.js'
import { PACKAGE_ROOT, VERSION } from '../lib/base/package.js'
import { loadConfig } from '../lib/config/load.js'
import { ConfigProblems } from '../lib/config/problem.js'
import { findModules, goesOn, start, type Running } from '../lib/main.js'
import { greeting } from './greeting.js'
import { serverOutput, watchTerminal } from './output.js'
import { env, foundConf, MODULES, socketOf } from './place.js'

/** File descriptors below which a server of many clients would run out of them. */
const FEW_FILES = 4096
/** How long systemd is waited for, in milliseconds. */
const PATIENCE = 5000

interface Up { readonly running: Running, readonly admin: AdminSocket }

/** Starts, and resolves when the server is up; it ends the process itself. Throws what keeps it from starting. */
export async function serve (file: string): Promise<void> {
  const modules = await findModules(MODULES)
  const { log: wanted, data } = loadConfig(file, modules, env).server
  const output = serverOutput()
  const format = wanted.format === 'auto' ? output.isTTY ? 'pretty' : 'json' : wanted.format
  const log = openLogger({ level: wanted.level, format, output })

  log.info('starting', { version: VERSION, conf: file })

  // Before anything is opened: a signal that comes meanwhile ends the server in order, once it stands.
  let stopping: Promise<void> | undefined
  const stop = (): Promise<void> => stopping ??= end(log, up)
  const told = (): void => {
    if (stopping !== undefined) process.exit(EXIT_INSISTED)
    void stop()
  }
  process.on('SIGTERM', told).on('SIGINT', told)
  const isTerminalClosed = watchTerminal()
  process.on('SIGHUP', () => {
    // The kernel, the shell and npm may each send one when a terminal is closed.
    if (isTerminalClosed()) void stop()
    else void up.then(({ running }) => running.reload()).catch((error: unknown) => { log.error('not reloaded', { error }) })
  })

  const setLogLevel = (level: LogLevel): void => { log.setLevel(level) }
  const up = raise(async () => await start({ file, modules, log, setLogLevel, env }), () => stop(), log)
  const { running } = await up
  goesOn(log)
  warnOfRoot(log)
  warnOfFiles(log)
  warnOfFolder(data, log)
  notify('READY=1')
  log.info('ready', { version: VERSION, conf: file })
  if (format === 'pretty') output.write(greet(running, file)) // machines read on
}

/** Asked twice to end, by somebody who does not want to wait. */
const EXIT_INSISTED = 130

async function raise (begin: () => Promise<Running>, stop: () => Promise<void>, log: Logger): Promise<Up> {
  const running = await begin()
  try {
    return { running, admin: await serveAdmin(socketOf(running.config), worldOf(running, stop), log) }
  } catch (error) {
    await running.stop()
    throw error
  }
}

/** Resolves once all is stored; the process ends when who asked for it has heard. */
async function end (log: Logger, up: Promise<Up>): Promise<void> {
  const { running, admin } = await up
  log.info('stopping')
  notify('STOPPING=1')
  const answered = admin.close()
  try {
    await running.stop()
    void answered.then(() => {
      log.info('stopped')
      process.exit(0)
    })
  } catch (error) {
    log.error('not stopped in order', { error })
    process.exit(1)
  }
}

/** What the commands see of a server. */
export function worldOf (running: Running, stop: () => Promise<void>): AdminWorld {
  return {
    server: running.server,
    status: () => ({
      version: VERSION,
      memory: `${Math.round(process.memoryUsage.rss() / 1048576)} MiB`,
      connections: running.connections,
      listening: running.listening,
      certificates: running.certificates?.report().map(report => ({
        ...report, notBefore: new Date(report.notBefore).toISOString(), notAfter: new Date(report.notAfter).toISOString(),
      })) ?? [],
    }),
    measures: () => measuresOf(running),
    federation: running.federation,
    reload: () => running.reload(),
    stop,
  }
}

function * measuresOf ({ connections, turnedAway, federation, certificates, server }: Running): Iterable<Measure> {
  const open = 'Connections that are open, by who connects.'
  yield { name: 'sestina_connections', kind: 'gauge', help: open, value: connections.connections, labels: { peers: 'clients' } }
  if (federation !== undefined) {
    yield { name: 'sestina_connections', kind: 'gauge', help: open, value: federation.counts.connections, labels: { peers: 'servers' } }
  }
  for (const [peers, counts] of [['clients', turnedAway], ['servers', federation?.turnedAway ?? []]] as const) {
    const help = 'Connections that were turned away, or had to make room, by who connects and why.'
    for (const { labels, value } of counts) {
      yield { name: 'sestina_connections_turned_away_total', kind: 'counter', help, value, labels: { peers, ...labels } }
    }
  }
  for (const { domain, notAfter } of certificates?.report() ?? []) {
    const help = 'When the certificate of a domain ends, in seconds since 1970.'
    yield { name: 'sestina_certificate_expiry_timestamp_seconds', kind: 'gauge', help, value: notAfter / 1000, labels: { domain } }
  }
  const { rss, heapUsed } = process.memoryUsage()
  const { user, system } = process.cpuUsage()
  yield { name: 'sestina_build_info', kind: 'gauge', help: 'Always 1; with the version.', value: 1, labels: { version: VERSION } }
  yield { name: 'process_start_time_seconds', kind: 'gauge', help: 'When the server started, in seconds since 1970.', value: server.since / 1000 }
  yield { name: 'process_cpu_seconds_total', kind: 'counter', help: 'CPU time that the server has used.', value: (user + system) / 1e6 }
  yield { name: 'process_resident_memory_bytes', kind: 'gauge', help: 'Memory that the server has.', value: rss }
  yield { name: 'nodejs_heap_size_used_bytes', kind: 'gauge', help: 'Of that, what its objects take.', value: heapUsed }
  yield {
    name: 'sestina_busy_seconds_total', kind: 'counter', help: 'Time in which the one thread that serves all was at work.',
    value: performance.eventLoopUtilization().active / 1000,
  }
}

/** What whoever stands before the terminal wants to know first. */
function greet (running: Running, file: string): string {
  const { config, listening, certificates } = running
  const domains = [...config.hosts.keys()]
  const made = certificates?.report().find(({ domain, selfSigned }) => domain === domains[0] && selfSigned)
  const conf = isFound(file) ? '' : ` --conf ${relative(process.cwd(), file)}`
  const command = (words: string): string => `${PACKAGE_ROOT.includes('node_modules') ? 'sestina' : 'npx sestina'} ${words}${conf}`
  return greeting({ version: VERSION, domains, listening, fingerprint: made?.fingerprint, command })
}

/** Whether the command finds this conf file without its name. */
function isFound (file: string): boolean {
  try {
    return (process.env['SESTINA_CONF'] === undefined ? foundConf() : resolve(process.env['SESTINA_CONF'])) === file
  } catch (error) {
    if (error instanceof ConfigProblems) return false
    throw error
  }
}

/** systemd(7): Type=notify. The variable is there only under it. */
function notify (state: string): void {
  if (process.env['NOTIFY_SOCKET'] === undefined) return
  spawnSync('systemd-notify', [`--pid=${process.pid}`, state], { stdio: 'ignore', timeout: PATIENCE })
}

function warnOfFiles (log: Logger): void {
  if (!existsSync('/proc/self/limits')) return
  const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
  if (soft === undefined || Number(soft) >= FEW_FILES) return
  log.warn('few file descriptors', { limit: Number(soft), wanted: FEW_FILES, hint: 'ulimit -n, or LimitNOFILE= in the unit' })
}

/** A defect of the server, or of what it is built on, would be one of the whole machine. */
function warnOfRoot (log: Logger): void {
  if (process.getuid?.() !== 0) return
  log.warn('running as root', { hint: 'start it as a user of its own; ports below 1024 need no more than CAP_NET_BIND_SERVICE' })
}

/** Messages and keys are in there: the folder that we make is for its owner alone, and one that was there before is the operator's. */
function warnOfFolder (data: string, log: Logger): void {
  const mode = statSync(data, { throwIfNoEntry: false })?.mode ?? 0
  if ((mode & 0o077) !== 0) log.warn('data folder is open to others', { folder: data, mode: (mode & 0o777).toString(8), hint: 'chmod 700' })
}
