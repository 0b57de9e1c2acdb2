/** `npm run bench`: compares Sestina with Prosody and ejabberd under the same load, on the loopback of this machine. */
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { endAllGenerators } from './generator.js'
import { cpuName, loadAverage } from './measure.js'
import { casesOf, planOf, SCENES, type Scene } from './plan.js'
import { run, type Findings } from './run.js'
import { killAll } from './servers/daemon.js'
import type { Server } from './servers/server.js'
import { SERVERS, Stage, type Pair, type ServerName } from './servers/stage.js'
import { costOf, report } from './table.js'

const USAGE = `npm run bench -- [options]
  --servers sestina,prosody,ejabberd   servers to measure; the others are compared with the first
  --before FOLDER                      also measure another checkout of Sestina, already built
  --only ${SCENES.join(',')}
  --rounds N                           how often each scene is measured (3; with --quick 1)
  --quick                              fewer users and shorter scenes: about three minutes
  --json                               print all outcomes as JSON on standard output, and the table on standard error
  --help`

await main()

async function main (): Promise<void> {
  const options = readOptions()
  if (options === undefined) return
  const folder = mkdtempSync(join(tmpdir(), 'sestina-bench-'))
  const plan = planOf(options.quick, options.rounds)
  process.on('exit', () => { cleanUp(folder) })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => { process.exit(130) })
  const watchdog = setTimeout(() => {
    console.error(`aborted after ${plan.limit} s`)
    process.exit(1)
  }, plan.limit * 1000)
  const pairs = await installed(options, folder)
  const servers = pairs.map(({ server }) => server)
  const before = loadAverage()
  const findings = await run(pairs, options.scenes, plan, text => { console.error(`… ${text}`) })
  clearTimeout(watchdog)
  const names = servers.map(({ name }) => name)
  const table = [...await about(servers, before), '', ...report(findings, casesOf(options.scenes), names)]
  if (options.json) console.log(JSON.stringify(await record(servers, findings, before), null, 2))
  for (const line of table) (options.json ? console.error : console.log)(line)
  process.exit(findings.failures.length === 0 ? 0 : 1)
}

interface Options {
  readonly before: string | undefined
  readonly servers: readonly ServerName[]
  readonly scenes: readonly Scene[]
  readonly rounds: number | undefined
  readonly quick: boolean
  readonly json: boolean
}

function readOptions (): Options | undefined {
  try {
    const { values } = parseArgs({
      options: {
        servers: { type: 'string', default: Object.keys(SERVERS).join(',') },
        before: { type: 'string' },
        only: { type: 'string', default: SCENES.join(',') },
        rounds: { type: 'string' },
        quick: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    if (!values.help) {
      const rounds = values.rounds === undefined ? undefined : Number(values.rounds)
      if (rounds !== undefined && !(Number.isInteger(rounds) && rounds >= 1 && rounds <= 20)) throw new Error('--rounds must be a number from 1 to 20')
      const { quick, json, before } = values
      return { servers: values.servers.split(',').map(serverNamed), before, scenes: values.only.split(',').map(sceneNamed), rounds, quick, json }
    }
    console.log(USAGE)
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`)
    process.exitCode = 64
  }
  return undefined
}

function serverNamed (name: string): ServerName {
  if (name === 'sestina' || name === 'prosody' || name === 'ejabberd') return name
  throw new Error(`there is no server '${name}'`)
}

function sceneNamed (name: string): Scene {
  const scene = SCENES.find(one => one === name)
  if (scene === undefined) throw new Error(`there is no scene '${name}'`)
  return scene
}

/** Returns the servers that are installed; prints how to install the others. */
async function installed ({ servers: names, before }: Options, folder: string): Promise<Pair[]> {
  const stage = await Stage.in(folder)
  const pairs = await Promise.all(names.map(async name => await stage.pair(name)))
  if (before !== undefined) pairs.push(await stage.checkout(resolve(before)))
  const versions = await Promise.all(pairs.map(async ({ server }) => await server.version()))
  return pairs.filter(({ server }, i) => {
    if (versions[i] === undefined) console.error(`${server.name} is not installed and is left out. To install it: ${server.install}`)
    return versions[i] !== undefined
  })
}

async function about (servers: readonly Server[], loadBefore: number): Promise<string[]> {
  const versions = await Promise.all(servers.map(async server => `${server.name} ${await server.version() ?? ''}`))
  return [
    '', `${versions.join(', ')}; Node ${process.version}`,
    `${availableParallelism()} × ${cpuName()}; load average ${loadBefore} before, ${loadAverage()} after`,
  ]
}

async function record (
  servers: readonly Server[], { measurements, failures }: Findings, loadBefore: number,
): Promise<unknown> {
  const versions = await Promise.all(servers.map(async server => [server.name, await server.version()] as const))
  return {
    servers: Object.fromEntries(versions),
    machine: {
      node: process.version, cpu: cpuName(), cores: availableParallelism(), loadBefore, loadAfter: loadAverage(),
    },
    measurements: measurements.map(one => ({ ...one, cost: costOf(one) })),
    failures,
  }
}

function cleanUp (folder: string): void {
  endAllGenerators()
  killAll()
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
}
