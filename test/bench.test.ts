import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { execFile } from 'node:child_process'
import t from 'tap'
import { PACKAGE_ROOT } from '../lib/base/package.js'
import { casesOf, SCENES, type Plan } from '../bench/plan.js'
import { run } from '../bench/run.js'
import { killAll } from '../bench/servers/daemon.js'
import { Stage } from '../bench/servers/stage.js'
import { costOf, report } from '../bench/table.js'

const named = (name: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${name}${i}`)

/** A full run in small, with a few users. Its measurements mean nothing. */
const SMALL: Plan = {
  rounds: 1, memoryRounds: 1, budget: 3600, limit: 3600, chatUsers: named('chat', 4), idleUsers: named('idle', 10), friendUsers: named('friend', 6), fans: named('fan', 4), fewFans: 2,
  contacts: 2, warmSeconds: 0.1, seconds: 0.4, logins: 8, settleSeconds: 0.1, archived: 120, passes: 1,
}

t.test('the bench measures Sestina from its start to its stop in every scene', { timeout: 1_200_000, skip: process.platform !== 'linux' && 'reads from /proc, which Linux has' }, async t => {
  const folder = await mkdtemp(join(tmpdir(), 'sestina-bench-'))
  const stage = await Stage.in(folder)
  t.teardown(async () => {
    killAll()
    await stage.close()
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  })
  const sestina = await stage.pair('sestina')
  const findings = await run([sestina], SCENES, SMALL, () => {})

  t.strictSame(findings.failures, [])
  const cases = casesOf(SCENES)
  t.strictSame(findings.measurements.map(({ scene, secure }) => `${scene} ${secure}`).sort(), cases.map(({ scene, secure }) => `${scene} ${secure}`).sort())
  for (const measurement of findings.measurements) {
    const { scene, secure, outcome } = measurement
    t.ok(outcome.count > 0 && outcome.cpu > 0, `${scene} (${secure}) did some work and used CPU time`)
    if (scene !== 'memory') t.ok(costOf(measurement) > 0, `${scene} (${secure}) has a cost`)
  }
  t.match(report(findings, cases, ['sestina']).join('\n'), /chat message, CPU µs, TLS +\d/)
  for (const server of [sestina.server, sestina.neighbour]) t.throws(() => server.pid, /has ended/, 'the server has stopped')
})

t.test('the bench command prints its usage for --help, and refuses unknown arguments', async t => {
  const bench = async (...args: string[]): Promise<{ code: unknown, text: string }> => {
    const run = promisify(execFile)
    return await run(process.execPath, [join(PACKAGE_ROOT, 'dist/bench/main.js'), ...args]).then(
      ({ stdout }) => ({ code: 0, text: stdout }),
      (error: unknown) => error instanceof Error && 'code' in error && 'stderr' in error ? { code: error.code, text: String(error.stderr) } : { code: error, text: '' })
  }
  const help = await bench('--help')
  t.equal(help.code, 0)
  const page = await readFile(join(PACKAGE_ROOT, 'docs/performance.md'), 'utf8')
  const options = help.text.match(/--[a-z]+/g) ?? []
  t.ok(options.length >= 6, 'its help lists options')
  for (const option of options) t.ok(page.includes(option), `docs/performance.md mentions ${option}`)
  for (const args of [['--servers', 'nobody'], ['--only', 'nothing'], ['--rounds', '0'], ['--fast']]) {
    const { code, text } = await bench(...args)
    t.equal(code, 64, args.join(' '))
    t.match(text, /npm run bench/)
  }
})
