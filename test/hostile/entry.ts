/**
 * Runs a server as `sestina start` does, and reports its state to the test over IPC. The product has no such interface.
 */
import { readdirSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { join } from 'node:path'
import { setTimeout as rest } from 'node:timers/promises'
import { systemClock, type Clock, type Timer } from '../../lib/base/clock.js'
import { openLogger } from '../../lib/base/logger.js'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { findModules, goesOn, start } from '../../lib/main.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import type { Answer, Question, Report } from './server.js'
import { TurnMeter } from './turns.js'

const [file = ''] = process.argv.slice(2)
const MODULES = join(PACKAGE_ROOT, 'dist', 'modules')

/**
 * The number of running timers. The clock counts them, because they do not keep the process alive and Node does not
 * list them.
 */
let timers = 0
/** The number of running one-shot timers. After the last connection they all expire soon. */
let single = 0
const counting = (take: (run: () => void) => Timer, run: () => void, once: boolean): Timer => {
  let stands = true
  const gone = (): void => {
    if (stands) {
      timers--
      if (once) single--
    }
    stands = false
  }
  timers++
  if (once) single++
  const timer = take(() => {
    if (once) gone()
    run()
  })
  return { cancel () { gone(); timer.cancel() } }
}
const clock: Clock = {
  now: () => systemClock.now(),
  after: (ms, run) => counting(run => systemClock.after(ms, run), run, true),
  every: (ms, run) => counting(run => systemClock.every(ms, run), run, false),
}

const errors: string[] = []
const log = openLogger({
  level: 'warn',
  format: 'json',
  output: { write: (line: string) => { if (line.includes('"level":"error"') && errors.length < 100) errors.push(line) } },
})
goesOn(log)
const before = process.cpuUsage()
const running = await start({ file, modules: await findModules(MODULES), log, clock, env: () => undefined })
const { user, system } = process.cpuUsage(before)
/** The CPU time of the start, in milliseconds. */
const started = (user + system) / 1000
const lag = monitorEventLoopDelay({ resolution: 5 })
lag.enable()
const turns = new TurnMeter()
turns.start()

async function report (): Promise<Report> {
  const gc: unknown = Reflect.get(globalThis, 'gc')
  for (let round = 0; round < 4; round++) {
    if (typeof gc === 'function') turns.without(() => { Reflect.apply(gc, globalThis, []) })
    await rest(20)
  }
  const resources: Record<string, number> = {}
  for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1
  const { heapUsed, external } = process.memoryUsage()
  return {
    heap: heapUsed, external, timers, resources, started,
    files: readdirSync('/proc/self/fd').length,
    sessions: running.server.hosts.reduce((sum, host) => sum + host.sessions.count, 0),
    waits: running.server.hosts.reduce((sum, host) => sum + host.requests.count, 0),
    connections: running.connections.connections,
  }
}

/** Returns the longest block of the event loop since the last call, in milliseconds. */
function longest (): number {
  const ms = lag.max / 1e6
  lag.reset()
  return ms
}

async function answer (question: Question): Promise<unknown> {
  switch (question.ask) {
    case 'ports': return running.listening
    case 'report': return await report()
    case 'connections': return running.connections.connections
    case 'single timers': return single
    case 'lag': return longest()
    case 'turns': return turns.take()
    case 'memory': return process.memoryUsage().rss
    case 'errors': return errors.splice(0)
    case 'fault': {
      if (question.kind === 'rejection') void Promise.reject(new Error("a test's rejection"))
      else setImmediate(() => { throw new Error("a test's exception") })
      return undefined
    }
    case 'account': {
      const account = parseJid(question.jid)
      await running.server.host(account.domain)?.createAccount(account, question.password)
      return undefined
    }
    case 'stop': {
      await running.stop()
      setImmediate(() => { process.exit(0) })
      return undefined
    }
  }
}

process.on('message', (question: Question) => {
  const send = (answer: Answer): void => { process.send?.(answer) }
  answer(question).then(value => { send({ id: question.id, value }) }, (error: unknown) => {
    send({ id: question.id, value: undefined, failure: String(error) })
  })
})
process.on('disconnect', () => { process.exit(0) })
process.send?.({ id: 0, value: undefined } satisfies Answer)
