/** Before start and test: installs what is missing and builds what is stale. Plain JavaScript, for nothing is there yet. */
import { spawnSync } from 'node:child_process'
import {
  accessSync, chmodSync, constants, existsSync, lstatSync, mkdirSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync,
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

/** Says what is begun, in a line; the answer says that it is done and how long it took, and is true. */
function step (what) {
  console.error(`${what} …`)
  const began = performance.now()
  return () => {
    console.error(`  done after ${Math.ceil((performance.now() - began) / 1000)} s`)
    return true
  }
}

/** Installs the packages of the lockfile, unless that has been done since the lockfile changed. */
function install () {
  if (written(join(ROOT, 'node_modules', '.package-lock.json')) >= written(join(ROOT, 'package-lock.json'))) return true
  if (lstatSync(join(ROOT, 'node_modules'), { throwIfNoEntry: false })?.isSymbolicLink() === true) {
    console.error('node_modules is a link, and npm ci would empty the folder it leads to: install the packages there yourself')
    return false
  }
  const done = step('Installing the packages of package-lock.json (once; it takes a few minutes)')
  if (run('npm', ['ci', '--no-fund', '--no-audit', '--loglevel=error'])) return done()
  console.error(`\nThe packages could not be installed; npm says why above.${compiling()}`)
  return false
}

/** better-sqlite3 is compiled where no prebuilt one can be had: what that needs, and which of it is not here. */
function compiling () {
  const missing = [['python3'], ['make', 'gmake'], ['c++', 'g++', 'clang++']].filter(names => !names.some(isProgram)).map(([name]) => name)
  if (missing.length === 0) return ' Without a network, see "Start" in README.md.'
  return ` better-sqlite3 may have to be compiled, which needs python3, make and a C++ compiler,\nand ${missing.join(', ')} ` +
    `${missing.length === 1 ? 'is' : 'are'} not here. On Debian and Ubuntu: apt-get install python3 build-essential`
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

/** Compiles, unless nothing changed since the last time that went well. */
function build () {
  const sources = SOURCES.flatMap(folder => filesBelow(join(ROOT, folder), '.ts'))
  const newest = Math.max(...[join(ROOT, 'tsconfig.json'), join(ROOT, 'node_modules', '.package-lock.json'), ...sources].map(written))
  prune(new Set(sources.map(path => relative(ROOT, path))))
  if (written(STAMP) > newest) return true
  const done = step('Building (after each change; some seconds)')
  if (!run(process.execPath, [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', ROOT, '--pretty', 'false'])) return false
  chmodSync(join(ROOT, 'dist', 'bin', 'sestina.js'), 0o755)
  name()
  writeFileSync(STAMP, '')
  return done()
}

/** `npx sestina` finds the command of this checkout here; npm itself forgets it for good where it is asked before there is a build. */
function name () {
  const link = join(ROOT, 'node_modules', '.bin', 'sestina')
  mkdirSync(dirname(link), { recursive: true })
  rmSync(link, { force: true })
  symlinkSync(join('..', '..', 'dist', 'bin', 'sestina.js'), link)
}

/** What was compiled from a file that is no more must not run: a test least of all. */
function prune (sources) {
  for (const path of filesBelow(join(ROOT, 'dist'), '.js')) {
    const stem = path.slice(0, -'.js'.length)
    if (sources.has(`${relative(join(ROOT, 'dist'), stem)}.ts`)) continue
    for (const ending of ['.js', '.js.map', '.d.ts']) rmSync(stem + ending, { force: true })
    rmSync(join(ROOT, 'dist', '.tsbuildinfo'), { force: true })
  }
}

/** Installs and builds; false, with the reason on standard error, where one of them failed. */
export function prepare () {
  return install() && build()
}

if (process.argv[1] === fileURLToPath(import.meta.url) && !prepare()) process.exit(1)
