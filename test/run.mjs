/**
 * npm test: builds, lints, runs every test with tap, checks the coverage, and closes with one line of numbers. Without a terminal it prints a
 * line for each file when that has ended, with its failures.
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
/** Of the lines of lib and modules together, so much has to be run by the tests; and of each file no less than that. */
const LINES = { together: 95, each: 80 }

const files = process.argv.slice(2) // npm test -- dist/test/xml/parser.test.js: those alone, without lint and coverage
const count = { passed: 0, failed: 0, skipped: 0 }

if (!prepare()) {
  count.failed++
  close('the build failed')
}
const faults = []
if (files.length === 0) check('eslint', node('eslint/bin/eslint.js', ['.', '--max-warnings=0']))
mkdirSync(dirname(RESULTS), { recursive: true })
rmSync(RESULTS, { force: true })
rmSync(COVERAGE, { force: true })
const went = await runTests()
const told = existsSync(RESULTS) ? tell(readFileSync(RESULTS, 'utf8')) : false
if (!told || (!went && count.failed === 0)) check('tap', false)
if (files.length === 0) check(`coverage of lib and modules: at least ${LINES.together} % of the lines`, coverage())
close(faults.join(', '))

function node (script, args) {
  return spawnSync(process.execPath, [join(ROOT, 'node_modules', script), ...args], { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] }).status === 0
}

function runTests () {
  const script = 'tap/dist/esm/run.mjs'
  if (process.stdout.isTTY) return node(script, ['run', '--reporter=terse', '--no-color', `--output-file=${RESULTS}`, ...files])
  const args = [join(ROOT, 'node_modules', script), 'run', '--reporter=tap', '--no-color', ...files]
  const tap = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] })
  // Not by --output-file: together with this reporter, tap prints each line twice.
  tap.stdout.pipe(createWriteStream(RESULTS))
  createInterface({ input: tap.stdout }).on('line', progress())
  return new Promise(resolve => { tap.on('close', code => { resolve(code === 0) }) })
}

/** Takes TAP line by line, and prints a line for each file, each failed test below it, and what the failure says. */
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

/** Counts the tests of the files: what stands one level below a file, be it a subtest or a lone assertion. */
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
  // a file that fell over outside of its tests
  if (faults.some(name => name.startsWith('dist/')) && count.failed === 0) count.failed++
  return tests > 0
}

/** Whether enough lines were run. A file that no test has ever loaded counts as well, as 0 %. */
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

/** A file of types alone compiles to nothing, and there is nothing in it to run. */
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
