/**
  * `npm run dev`: builds, starts the server, and restarts it after each change of a source file, of the conf file, or
  * of a module in a folder of `modules.path`. The old server is stopped in order before the new one starts, so its
  * sessions can be resumed.
 */
import { spawn } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { prepare } from './prepare.mjs'

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..')
/** The folders of dist that the server runs. A change of a test restarts nothing. */
const PARTS = ['bin', 'lib', 'modules'].map(name => join(ROOT, 'dist', name))
/** The status of the compiler after it has compiled everything: 'Found N errors. Watching for file changes.' */
const COMPILED = [6193, 6194]

/** The arguments of `sestina start`. `npm run dev -- --conf FILE` uses another conf file. */
const args = process.argv.length > 2 ? process.argv.slice(2) : ['--conf', join('conf', 'sestina.toml')]

/** The running server, and what it runs: the time of the build, and the number of changes outside the package. */
let server
let runs = ''
let changes = 0
/** False while the sources have mistakes: what is in dist then may not run. */
let isBuilt = false
/** One restart at a time; a change during a restart causes another one after it. */
let restarting = Promise.resolve()
let isEnding = false
/** The server that is being stopped because this process ends, and since when. */
let ending
let endsSince = 0
/** Ctrl-C may arrive twice, from the terminal and from npm, within this time in milliseconds. */
const SAME_SIGNAL = 1000

if (!prepare()) process.exit(1)
const { default: ts } = await import('typescript')
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => { void end(signal) })
watch()
await watchOutside()

/** Watches and compiles the sources. Prints mistakes; after a build without any, restarts the server if it changed. */
function watch () {
  const host = { getCanonicalFileName: name => name, getCurrentDirectory: () => ROOT, getNewLine: () => '\n' }
  const report = diagnostic => { process.stderr.write(ts.formatDiagnostic(diagnostic, host)) }
  const status = ({ code }, _newLine, _options, errors) => {
    if (!COMPILED.includes(code)) return
    isBuilt = errors === 0
    if (isBuilt) restarting = restarting.then(restart)
    else say(`${errors === 1 ? 'one mistake' : `${errors} mistakes`}: ${server === undefined ? 'the server starts after they are corrected' : 'the server runs on as it is'}`)
  }
  ts.createWatchProgram(ts.createWatchCompilerHost(
    join(ROOT, 'tsconfig.json'), {}, ts.sys, ts.createEmitAndSemanticDiagnosticsBuilderProgram, report, status,
  ))
}

/** Watches the conf file, and the modules outside the package that it names. */
async function watchOutside () {
  const conf = args.flatMap((word, index) => word === '--conf' ? args[index + 1] ?? [] : word.startsWith('--conf=') ? word.slice('--conf='.length) : [])[0]
  if (conf === undefined) return
  // Imported here, after the build.
  const { OutsideWatch } = await import('../dist/bin/outside-watch.js')
  await new OutsideWatch(resolve(ROOT, conf), {
    changed: paths => {
      changes++
      const names = paths.slice(0, 3).map(path => relative(ROOT, path)).join(', ')
      say(`changed: ${names}${paths.length > 3 ? ', …' : ''}${isBuilt ? '' : '; the server restarts after the sources are corrected'}`)
      restarting = restarting.then(restart)
    },
    failed: error => { say(`not everything is watched: ${error.message}`) },
  }).open()
}

async function restart () {
  const now = `${newest()} ${changes}`
  if (isEnding || !isBuilt || now === runs) return
  await stop('SIGTERM')
  runs = now
  server = start()
}

/** Starts the server in a process group of its own, so that Ctrl-C reaches it only through this process, and once. */
function start () {
  say('starting the server')
  const child = spawn(process.execPath, ['--enable-source-maps', join(ROOT, 'dist', 'bin', 'sestina.js'), 'start', ...args], {
    cwd: ROOT, detached: true, stdio: ['ignore', 'inherit', 'inherit'],
  })
  const ended = new Promise(resolve => {
    child.once('exit', code => {
      if (server?.child === child) say(`the server ended with ${code ?? 'a signal'}; it starts again after the next change`)
      resolve()
    })
  })
  return { child, ended }
}

/** Asks the server to stop in order, and waits until it has. */
async function stop (signal) {
  const old = server
  server = undefined
  if (old === undefined) return
  if (old.child.exitCode === null && old.child.signalCode === null) old.child.kill(signal)
  await old.ended
}

/** Ends this process after the server. A later signal is passed on, and makes the server end at once. */
async function end (signal) {
  if (isEnding) {
    if (performance.now() - endsSince > SAME_SIGNAL) ending?.kill(signal)
    return
  }
  isEnding = true
  endsSince = performance.now()
  ending = server?.child
  await stop('SIGTERM')
  process.exit(128 + constants.signals[signal])
}

/** The time of the newest file that the server runs. */
function newest () {
  const files = PARTS.flatMap(folder => readdirSync(folder, { recursive: true, encoding: 'utf8' }).map(name => join(folder, name)))
  return Math.max(...files.filter(name => name.endsWith('.js')).map(name => statSync(name).mtimeMs))
}

function say (text) {
  console.error(`dev: ${text}`)
}
