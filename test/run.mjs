/**
 * Implements `npm test`: builds, lints, runs every test with tap, checks the coverage, and ends with one line of
 * totals. If the output is not a terminal, it prints one line per test file when the file has ended, and the failures
 * of the file.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createWriteStream, existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { prepare } from '../bin/prepare.mjs'

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..')
const RESULTS = join(ROOT, '.tap', 'all.tap')
const COVERAGE = join(ROOT, '.tap', 'report', 'coverage-summary.json')
/** The least coverage in percent of lines: of lib and modules together, and of each of their files. */
const LINES = { together: 95, each: 80 }

/** The last commit before the rule for commit messages. */
const COMMITS_FROM = '219d1826f91e'

/** The files to run alone, without lint and coverage: npm test -- dist/test/xml/parser.test.js */
const files = process.argv.slice(2)
const count = { passed: 0, failed: 0, skipped: 0 }

if (!prepare()) {
  count.failed++
  close('the build failed')
}
const faults = []
if (files.length === 0) {
  // Two at a time, each on a core: eslint takes as long as the others together.
  const linted = await Promise.all([
    node('eslint/bin/eslint.js', ['.', '--max-warnings=0']),
    node('knip/bin/knip.js', ['--no-progress']).then(async fine => [
      fine, await node('cspell/bin.mjs', ['--no-progress', '--no-summary', '.']), await commits(),
    ]),
  ])
  for (const [at, name] of ['eslint', 'knip', 'cspell', 'commit messages'].entries()) check(name, linted.flat()[at])
}
mkdirSync(dirname(RESULTS), { recursive: true })
rmSync(RESULTS, { force: true })
rmSync(COVERAGE, { force: true })
const went = await runTests()
const told = existsSync(RESULTS) ? tell(readFileSync(RESULTS, 'utf8')) : false
if (!told || (!went && count.failed === 0)) check('tap', false)
if (files.length === 0) check(`coverage of lib and modules: at least ${LINES.together} % of the lines`, coverage())
close(faults.join(', '))

/** Runs a script of a package. Returns true if it ended with code 0. */
function node (script, args) {
  const program = spawn(process.execPath, [join(ROOT, 'node_modules', script), ...args], { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] })
  return new Promise(resolve => { program.on('close', code => { resolve(code === 0) }) })
}

/**
 * Checks the messages of all commits since the rule. Passes if the history is not there, as in a package or a shallow
 * clone.
 */
async function commits () {
  const git = (...args) => spawnSync('git', args, { cwd: ROOT, encoding: 'utf8' })
  if (git('cat-file', '-e', `${COMMITS_FROM}^{commit}`).status !== 0) return true
  return await node('@commitlint/cli/cli.js', ['--from', COMMITS_FROM, '--to', 'HEAD'])
}

function runTests () {
  const script = 'tap/dist/esm/run.mjs'
  const coverage = files.length === 0 ? [] : ['--disable-coverage'] // nobody asks for the coverage of some files
  if (process.stdout.isTTY) return node(script, ['run', '--reporter=terse', '--no-color', `--output-file=${RESULTS}`, ...coverage, ...files])
  const args = [join(ROOT, 'node_modules', script), 'run', '--reporter=tap', '--no-color', ...coverage, ...files]
  const tap = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] })
  // The stream is piped, because tap prints each line twice if this reporter is combined with --output-file.
  tap.stdout.pipe(createWriteStream(RESULTS))
  createInterface({ input: tap.stdout }).on('line', progress())
  return new Promise(resolve => { tap.on('close', code => { resolve(code === 0) }) })
}

/**
 * Returns a function that takes TAP line by line. It prints a line for each file, and below it each failed test with
 * its diagnostics.
 */
function progress () {
  let explains = false
  return line => {
    const [, failed, name] = /^(not )?ok \d+ - (dist\/\S+.*?)(?: \{)?$/.exec(line) ?? []
    const isFailure = /^ +not ok \d+/.test(line)
    if (name !== undefined) console.log(`${failed === undefined ? 'passed' : 'FAILED'}: ${name}`)
    else if (isFailure || explains) console.log(line)
    explains = (explains || isFailure) && !/^ +(\.\.\.|(not )?ok \d+.*[^{])$/.test(isFailure ? '' : line)
  }
}

function check (name, fine) {
  count[fine ? 'passed' : 'failed']++
  if (!fine) faults.push(name)
}

/**
 * Counts the tests: the results one level below a file, which are subtests or single assertions. False if there are
 * none.
 */
function tell (tap) {
  let tests = 0
  for (const [, not, rest] of tap.matchAll(/^ {4}(not )?ok \d+(.*)$/gm)) {
    tests++
    const skipped = /\s# (?:SKIP|TODO)\b\s*(.*)$/i.exec(rest)
    if (skipped !== null) {
      count.skipped++
      console.log(`skipped:${rest.replace(/ # time=\S+/, '')}`)
    } else count[not === undefined ? 'passed' : 'failed']++
  }
  for (const [, name] of tap.matchAll(/^not ok \d+ - (.*?)(?: # .*)?$/gm)) faults.push(name)
  // A file failed outside of its tests.
  if (faults.some(name => name.startsWith('dist/')) && count.failed === 0) count.failed++
  return tests > 0
}

/** True if enough lines were run. A file that no test loaded counts as 0 %. */
function coverage () {
  if (!existsSync(COVERAGE)) return false
  const report = JSON.parse(readFileSync(COVERAGE, 'utf8'))
  const rows = sources().map(path => ({ path, lines: report[join(ROOT, path)]?.lines ?? never(path) }))
  const total = rows.reduce((sum, { lines }) => sum + lines.total, 0)
  const covered = rows.reduce((sum, { lines }) => sum + lines.covered, 0)
  const percent = total === 0 ? 0 : covered / total * 100
  const thin = rows.filter(({ lines }) => lines.pct < LINES.together).sort((a, b) => a.lines.pct - b.lines.pct)
  for (const { path, lines } of thin) console.log(`${lines.pct.toFixed(1).padStart(6)} %  ${path} (${lines.total - lines.covered} lines never run)`)
  console.log(`coverage: ${percent.toFixed(2)} % of ${total} lines in ${rows.length} files of lib and modules`)
  return percent >= LINES.together && thin.every(({ lines }) => lines.pct >= LINES.each)
}

function sources () {
  return ['lib', 'modules'].flatMap(top => readdirSync(join(ROOT, top), { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.ts')).map(name => join(top, name)))
}

/**
 * Returns the coverage of a file that no test loaded. A file that holds only types compiles to nothing and has no lines
 * to run.
 */
function never (path) {
  const compiled = join(ROOT, 'dist', path.replace(/\.ts$/, '.js'))
  const empty = existsSync(compiled) && /^(?:\/\*[\s\S]*?\*\/|\/\/.*|\s|import .*|export \{\};)*$/.test(readFileSync(compiled, 'utf8'))
  if (empty) return { total: 0, covered: 0, pct: 100 }
  return { total: readFileSync(join(ROOT, path), 'utf8').split('\n').length - 1, covered: 0, pct: 0 }
}

function close (why) {
  if (why !== '') console.log(`failed: ${why}`)
  console.log(`\n${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`)
  process.exit(count.failed > 0 || count.passed === 0 ? 1 : 0)
}
