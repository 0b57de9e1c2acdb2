/**
 * Runs before `npm start` and `npm test`: installs missing packages and builds changed sources. It is plain JavaScript,
 * because nothing has been built yet.
 */
import { spawnSync } from 'node:child_process'
import {
  accessSync, chmodSync, constants, existsSync, lstatSync, mkdirSync, readdirSync, rmSync, statSync, symlinkSync,
  writeFileSync,
} from 'node:fs'
import { delimiter, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..')
const SOURCES = ['lib', 'modules', 'bin', 'test', 'bench']
const STAMP = join(ROOT, 'dist', '.built')

const written = path => existsSync(path) ? statSync(path).mtimeMs : 0

function run (command, args) {
  const { status, error } = spawnSync(command, args, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] })
  if (error !== undefined) console.error(`${command}: ${error.message}`)
  return status === 0
}

function filesBelow (folder, ending) {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith(ending)).map(name => join(folder, name))
}

/** Prints that a step begins. The returned function prints that it is done and how long it took, and returns true. */
function step (what) {
  console.error(`${what} …`)
  const began = performance.now()
  return () => {
    console.error(`  done after ${Math.ceil((performance.now() - began) / 1000)} s`)
    return true
  }
}

/** Installs the packages of the lockfile, unless that was done after the lockfile's last change. */
function install () {
  if (written(join(ROOT, 'node_modules', '.package-lock.json')) >= written(join(ROOT, 'package-lock.json'))) return true
  if (lstatSync(join(ROOT, 'node_modules'), { throwIfNoEntry: false })?.isSymbolicLink() === true) {
    console.error('node_modules is a link, and npm ci would empty the folder it points to: install the packages there yourself')
    return false
  }
  const done = step('Installing the packages of package-lock.json (once; it takes a few minutes)')
  if (run('npm', ['ci', '--no-fund', '--no-audit', '--loglevel=error'])) return done()
  console.error(`\nThe packages could not be installed; npm says why above.${compiling()}`)
  return false
}

/** Returns a hint about the tools that compile better-sqlite3 if no prebuilt binary is found, and which are missing. */
function compiling () {
  const missing = [['python3'], ['make', 'gmake'], ['c++', 'g++', 'clang++']].filter(names => !names.some(isProgram)).map(([name]) => name)
  if (missing.length === 0) return ' Without a network, see "Start" in README.md.'
  return ` better-sqlite3 may have to be compiled, which needs python3, make and a C++ compiler,\nand ${missing.join(', ')} ` +
    `${missing.length === 1 ? 'is' : 'are'} not installed. On Debian and Ubuntu: apt-get install python3 build-essential`
}

function isProgram (name) {
  return (process.env.PATH ?? '').split(delimiter).some(folder => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** Compiles, unless nothing has changed since the last successful build. */
function build () {
  const sources = SOURCES.flatMap(folder => filesBelow(join(ROOT, folder), '.ts'))
  const newest = Math.max(...[join(ROOT, 'tsconfig.json'), join(ROOT, 'node_modules', '.package-lock.json'), ...sources].map(written))
  prune(new Set(sources.map(path => relative(ROOT, path))))
  if (written(STAMP) > newest) return true
  const done = step('Building (half a minute the first time, more on a slow machine; some seconds after a change)')
  if (!run(process.execPath, [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', ROOT, '--pretty', 'false'])) return false
  chmodSync(join(ROOT, 'dist', 'bin', 'sestina.js'), 0o755)
  name()
  writeFileSync(STAMP, '')
  return done()
}

/**
  * Makes the link through which `npx sestina` finds the command of this checkout. npm itself never makes it if npx was
  * called before there was a build.
 */
function name () {
  const link = join(ROOT, 'node_modules', '.bin', 'sestina')
  mkdirSync(dirname(link), { recursive: true })
  rmSync(link, { force: true })
  symlinkSync(join('..', '..', 'dist', 'bin', 'sestina.js'), link)
}

/** Removes the output of sources that no longer exist, so that it cannot run, above all removed tests. */
function prune (sources) {
  for (const path of filesBelow(join(ROOT, 'dist'), '.js')) {
    const stem = path.slice(0, -'.js'.length)
    if (sources.has(`${relative(join(ROOT, 'dist'), stem)}.ts`)) continue
    for (const ending of ['.js', '.js.map', '.d.ts']) rmSync(stem + ending, { force: true })
    rmSync(join(ROOT, 'dist', '.tsbuildinfo'), { force: true })
  }
}

/** Installs and builds. Returns false if one of them failed; the reason is then on standard error. */
export function prepare () {
  return install() && build()
}

if (process.argv[1] === fileURLToPath(import.meta.url) && !prepare()) process.exit(1)
