/** The process and its system: terminals and pipes that close, signals, an old Node. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { freePorts, missing, PATIENCE, Program } from '../interop/process.js'
import { SESTINA } from '../sestina.js'
import { temporaryFolder } from '../temporary-folder.js'

const TERMINAL = join(PACKAGE_ROOT, 'test', 'bin', 'terminal.py')
t.setTimeout(1_200_000)

interface Place { readonly conf: string, write (level: string, format?: string): void }

/** Creates a folder with a conf file that has one listener on a free port. */
async function place (t: Test): Promise<Place> {
  const [port = 0] = await freePorts(1)
  const conf = join(temporaryFolder(t), 'sestina.toml')
  const write = (level: string, format = 'json'): void => {
    writeFileSync(conf, `data = "data"\n[log]\nlevel = "${level}"\nformat = "${format}"\n[[listen]]\nfor = "clients"\nport = ${port}\n` +
      'address = ["127.0.0.1"]\n[host.localhost]\n')
  }
  write('info')
  return { conf, write }
}

const words = (conf: string, ...given: readonly string[]): string[] => [SESTINA, ...given, '--conf', conf]

interface Ended { readonly code: number | string, readonly said: string }

async function sestina (conf: string, ...given: readonly string[]): Promise<Ended> {
  const program = new Program(process.execPath, words(conf, ...given), { input: '', isMeasured: false })
  return { code: await program.ended, said: program.said }
}

async function started (t: Test, conf: string): Promise<Program> {
  const server = new Program(process.execPath, words(conf, 'start'), { input: '' })
  t.teardown(() => server.stop())
  await server.says(/"msg":"server ready"/)
  return server
}

/** Starts a server in its own terminal. Returns the terminal and the id of the process. */
async function inTerminal (t: Test, conf: string): Promise<{ readonly terminal: Program, readonly pid: number }> {
  const terminal = new Program('python3', [TERMINAL, process.execPath, ...words(conf, 'start')])
  const [, pid = ''] = await terminal.says(/^runs as (\d+)/m)
  t.teardown(async () => {
    try {
      process.kill(Number(pid), 'SIGKILL')
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error // the process has ended
    }
    await terminal.stop()
  })
  await terminal.says(/"msg":"server ready"/)
  return { terminal, pid: Number(pid) }
}

interface Unread { readonly child: ChildProcess, readonly ended: Promise<unknown>, complaints: string }

/** Runs the command, and closes the pipe that reads its output at once. */
function unread (t: Test, args: readonly string[]): Unread {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  child.stdout.destroy()
  const ended = new Promise(resolve => { child.once('close', (code, signal) => { resolve(code ?? signal) }) })
  t.teardown(() => { child.kill('SIGKILL') })
  const run = { child, ended, complaints: '' }
  child.stderr.setEncoding('utf8').on('data', (text: string) => { run.complaints += text })
  return run
}

/** Asks the server until it answers. False if it does not in a time that only a hang exceeds. */
async function answers (conf: string): Promise<boolean> {
  const end = performance.now() + PATIENCE * 1000
  while (performance.now() < end) if ((await sestina(conf, 'status')).code === 0) return true
  return false
}

t.test('a server whose terminal closes stops in order', { skip: missing({ python3: 'python3' }) }, async t => {
  const { conf } = await place(t)
  const { terminal } = await inTerminal(t, conf)
  terminal.type('close\n')
  const [, code] = await terminal.says(/^ended with (-?\d+)$/m)
  t.equal(code, '0')
  t.match(await sestina(conf, 'status'), { code: 69 }, 'its socket does not answer any more')
})

t.test('SIGHUP reloads a server whose terminal is open', { skip: missing({ python3: 'python3' }) }, async t => {
  const { conf } = await place(t)
  const { terminal, pid } = await inTerminal(t, conf)
  process.kill(pid, 'SIGHUP')
  await terminal.says(/"msg":"conf reloaded"/)
  process.kill(pid, 'SIGTERM')
  await terminal.says(/^ended with 0$/m)
  t.match(terminal.said, /"msg":"server stopped"/)
})

t.test('SIGHUP reloads a server that never had a terminal', async t => {
  const server = await started(t, (await place(t)).conf)
  server.signal('SIGHUP')
  await server.says(/"msg":"conf reloaded"/)
})

t.test('a server whose output nobody reads answers, reloads its conf, and ends on SIGTERM', async t => {
  const { conf, write } = await place(t)
  const { child, ended } = unread(t, words(conf, 'start'))
  t.ok(await answers(conf), 'although the pipe broke while it started')
  write('debug')
  t.match(await sestina(conf, 'reload'), { code: 0 })
  t.ok(await answers(conf))
  child.kill('SIGTERM')
  t.equal(await ended, 0)
})

t.test('a server whose output breaks while it runs answers, and ends on SIGTERM', async t => {
  const { conf } = await place(t)
  const child = spawn(process.execPath, words(conf, 'start'), { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  const ended = new Promise(resolve => { child.once('close', (code, signal) => { resolve(code ?? signal) }) })
  let said = ''
  await new Promise<void>(resolve => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => { if ((said += text).includes('"server ready"')) resolve() })
  })
  child.stdout.destroy()
  child.stderr.destroy()
  t.match(await sestina(conf, 'status'), { code: 0 })
  t.match(await sestina(conf, 'reload'), { code: 0 })
  child.kill('SIGTERM')
  t.equal(await ended, 0)
})

t.test('a command whose output nobody reads ends silently', async t => {
  const { conf } = await place(t)
  for (const given of [['user', 'list'], ['check', '--full'], ['--help'], ['user', '--help']]) {
    const run = unread(t, given.includes('--help') ? [SESTINA, ...given] : words(conf, ...given))
    t.equal(await run.ended, 0, given.join(' '))
    t.equal(run.complaints, '', given.join(' '))
  }
})

t.test('SIGUSR1 opens no debugger, and SIGUSR2 does not end the server', async t => {
  const { conf } = await place(t)
  const server = await started(t, conf)
  server.signal('SIGUSR1')
  t.match(await sestina(conf, 'status'), { code: 0 })
  t.notMatch(server.said, /Debugger listening/)
  server.signal('SIGUSR2')
  t.match(await sestina(conf, 'status'), { code: 0 })
  server.signal('SIGTERM')
  t.equal(await server.ended, 0)
})

t.test('a reload changes the log level, also of loggers that exist already', async t => {
  const { conf, write } = await place(t)
  const server = await started(t, conf)
  write('error')
  t.match(await sestina(conf, 'reload'), { code: 0, said: 'reloaded\n' })
  const quiet = server.said.length
  t.match(await sestina(conf, 'status'), { code: 0 })
  write('info')
  t.match(await sestina(conf, 'reload'), { code: 0, said: 'reloaded\n' })
  await server.says(/"msg":"conf reloaded"/, undefined, quiet)
  t.notMatch(server.said.slice(quiet), /"command":"status"/)
  write('info', 'pretty')
  t.match(await sestina(conf, 'reload'), { code: 0, said: /the changes of log need a restart/ }, 'the format cannot change')
})

t.test('a server that runs as root warns of it', async t => {
  const server = await started(t, (await place(t)).conf)
  const warns = /"level":"warn".*"msg":"server running as root"/.test(server.said)
  t.equal(warns, process.getuid?.() === 0)
})

t.test('the command on an old Node says which version it needs', t => {
  const { engines } = JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8'))
  const [, least = ''] = /(\d+\.\d+)/.exec(engines.node) ?? []
  const folder = temporaryFolder(t)
  for (const [version, code] of [['12.22.9', 1], ['18.20.4', 1], ['20.18.3', 1], ['20.19.0', 0], ['22.14.0', 0], ['100.0.0', 0]] as const) {
    const preload = join(folder, `${version}.cjs`)
    writeFileSync(preload, `Object.defineProperty(process.versions, 'node', { value: '${version}' })`)
    const { status, stderr } = spawnSync(process.execPath, ['--require', preload, SESTINA, '--version'], { encoding: 'utf8' })
    t.equal(status, code, version)
    if (code === 1) t.equal(stderr.split('\n')[0], `Sestina needs Node ${least} or later, and this is Node ${version}. See https://nodejs.org/en/download`)
  }
  t.end()
})
