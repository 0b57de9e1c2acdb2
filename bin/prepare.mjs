/** Before start and test: installs what is missing and builds what is stale. Plain JavaScript, for nothing is there yet. */
import { spawnSync } from 'node:child_process'
import { existsSync, lstatSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
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

/** Installs the packages of the lockfile, unless that has been done since the lockfile changed. */
function install () {
  if (written(join(ROOT, 'node_modules', '.package-lock.json')) >= written(join(ROOT, 'package-lock.json'))) return true
  if (lstatSync(join(ROOT, 'node_modules'), { throwIfNoEntry: false })?.isSymbolicLink() === true) {
    console.error('node_modules is a link, and npm ci would empty the folder it leads to: install the packages there yourself')
    return false
  }
  console.error('Installing the packages of package-lock.json (once; the first time takes a few minutes) …')
  return run('npm', ['ci', '--no-fund', '--no-audit'])
}

/** Compiles, unless nothing changed since the last time that went well. */
function build () {
  const sources = SOURCES.flatMap(folder => filesBelow(join(ROOT, folder), '.ts'))
  const newest = Math.max(...[join(ROOT, 'tsconfig.json'), join(ROOT, 'node_modules', '.package-lock.json'), ...sources].map(written))
  prune(new Set(sources.map(path => relative(ROOT, path))))
  if (written(STAMP) > newest) return true
  if (!run(process.execPath, [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', ROOT, '--pretty', 'false'])) return false
  writeFileSync(STAMP, '')
  return true
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
