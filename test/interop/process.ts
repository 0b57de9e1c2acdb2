/** Other programs, started for a test: each in a process group of its own, read line by line, and always ended. */
import { spawn, type ChildProcess } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { createServer } from 'node:net'
import { delimiter, join } from 'node:path'

export interface Command {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** The standard input of the program, which is then closed. If left out, the input stays open for `type`. */
  readonly input?: string
  /** Runs the program as the user nobody if the test runs as root: some programs refuse root. */
  readonly asNobody?: boolean
  /**
   * False if the coverage of the program is not measured: it starts in half of the time. Other tests run the same code
   * in their own process.
   */
  readonly isMeasured?: boolean
}

/** Starts a program without the coverage tools of the test. */
export const UNMEASURED = ['/usr/bin/env', '-u', 'NODE_OPTIONS'] as const

/** The user nobody, or undefined if the test does not run as root and so cannot change the user. */
export const NOBODY = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : undefined

/** Only a hang lasts longer, in seconds. */
export const PATIENCE = 600

/** The number of characters of a program's output that are kept. */
const KEPT = 1 << 20

/** A program failed; the test shows its last output. */
export class Failure extends Error {
  readonly said: readonly string[]

  constructor (message: string, said: string) {
    super(message)
    this.said = said.slice(-4000).split('\n')
  }
}

/** The programs that still run: they are killed when the test's process ends, even in the middle of a test. */
const running = new Set<Program>()
process.once('exit', () => { for (const program of running) program.signal('SIGKILL') })
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => { process.exit(1) })

/** One running program. */
export class Program {
  readonly name: string
  /** Resolves with the exit code, or with the name of the signal. */
  readonly ended: Promise<number | string>
  #said = ''
  #over: number | string | undefined
  readonly #child: ChildProcess
  readonly #listeners = new Set<() => void>()

  constructor (path: string, args: readonly string[], how: Command = {}) {
    this.name = [path, ...args].join(' ').slice(0, 200)
    const [program, ...words] = [...how.isMeasured === false ? UNMEASURED : [], path, ...args] as [string, ...string[]]
    this.#child = spawn(program, words, { cwd: how.cwd, env: { ...process.env, ...how.env }, detached: true, stdio: 'pipe', ...how.asNobody === true ? NOBODY : {} })
    running.add(this)
    this.ended = new Promise(resolve => {
      this.#child.once('error', error => { this.#hear(`${error.message}\n`); this.#end(127, resolve) })
      this.#child.once('close', (code, signal) => { this.#end(code ?? signal ?? 0, resolve) })
    })
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => { this.#hear(text) })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => { this.#hear(text) })
    this.#child.stdin?.on('error', () => undefined) // the program ended without reading: `ended` reports that
    if (how.input !== undefined) this.#child.stdin?.end(how.input)
  }

  /** All that the program has printed so far, on either of its outputs. */
  get said (): string { return this.#said }
  get pid (): number { return this.#child.pid ?? 0 }

  type (text: string): void { this.#child.stdin?.write(text) }

  /**
   * Waits until the output from `after` on matches. Throws with the last output if the program ends or the time is
   * over.
   */
  async says (wanted: RegExp, seconds = PATIENCE, after = 0): Promise<RegExpExecArray> {
    return await new Promise((resolve, reject) => {
      const done = (): void => { clearTimeout(timer); this.#listeners.delete(look) }
      const fail = (why: string): void => { done(); reject(new Failure(`${this.name} ${why} before it said ${String(wanted)}`, this.#said)) }
      const look = (): void => {
        const found = wanted.exec(this.#said.slice(after))
        if (found !== null) { done(); resolve(found) } else if (this.#over !== undefined) fail(`ended with ${this.#over}`)
      }
      const timer = setTimeout(() => { fail(`was given ${seconds} s`) }, seconds * 1000)
      this.#listeners.add(look)
      look()
    })
  }

  /** Waits until the program ends by itself. Throws with the last output if the time is over, and kills it. */
  async ends (seconds = PATIENCE): Promise<number | string> {
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      this.signal('SIGKILL')
    }, seconds * 1000)
    const ended = await this.ended
    clearTimeout(timer)
    if (isLate) throw new Failure(`${this.name} was given ${seconds} s to end`, this.#said)
    return ended
  }

  /** Asks the whole group to end, and kills it after two minutes. */
  async stop (): Promise<void> {
    this.signal('SIGTERM')
    const timer = setTimeout(() => { this.signal('SIGKILL') }, 120_000)
    await this.ended
    clearTimeout(timer)
    this.signal('SIGKILL') // children that outlived it
  }

  /** Sends a signal to the program and to all that it started in its group. */
  signal (signal: NodeJS.Signals): void {
    if (this.#child.pid === undefined) return
    try {
      process.kill(-this.#child.pid, signal)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error // the group is gone
    }
  }

  #hear (text: string): void {
    this.#said = (this.#said + text).slice(-KEPT)
    for (const listener of this.#listeners) listener()
  }

  #end (how: number | string, resolve: (how: number | string) => void): void {
    this.#over ??= how
    running.delete(this)
    for (const listener of this.#listeners) listener()
    resolve(how)
  }
}

/** Runs a program to its end and returns its output. Throws if it ends with another code than 0, or not in time. */
export async function run (path: string, args: readonly string[], how: Command = {}): Promise<string> {
  const program = new Program(path, args, { input: '', ...how })
  const ended = await program.ends()
  if (ended !== 0) throw new Failure(`${program.name} ended with ${ended}`, program.said)
  return program.said
}

/** Returns which packages a test lacks here and how to install them, or false if all programs are there. */
export function missing (programs: Readonly<Record<string, string>>): string | false {
  const packages = Object.entries(programs).filter(([program]) => !isInstalled(program)).map(([, name]) => name)
  return packages.length > 0 && `missing: apt-get install --no-install-recommends ${[...new Set(packages)].join(' ')}`
}

function isInstalled (program: string): boolean {
  const folders = program.includes('/') ? [''] : (process.env['PATH'] ?? '').split(delimiter).concat('/usr/sbin')
  return folders.some(folder => {
    try {
      accessSync(join(folder, program), constants.R_OK)
      return true
    } catch (error) {
      if (error instanceof Error) return false
      throw error
    }
  })
}

/** The ports for programs that cannot choose one themselves: below those that the system gives to anybody. */
const FIRST_PORT = 10_000
const LAST_PORT = 32_000
/** Each process begins at another place, so that no two of them choose the same port. */
let nextPort = FIRST_PORT + process.pid * 100 % (LAST_PORT - FIRST_PORT)

/**
 * Returns ports of the loopback interface that are free, for programs that cannot choose one themselves. No other
 * caller gets them, and nor does a program that asks the system for any port, also while their program is restarted.
 */
export async function freePorts (count: number): Promise<number[]> {
  const found: number[] = []
  while (found.length < count) {
    const port = nextPort++
    if (nextPort > LAST_PORT) nextPort = FIRST_PORT
    if (await isFree(port)) found.push(port)
  }
  return found
}

async function isFree (port: number): Promise<boolean> {
  const server = createServer()
  const outcome = new Promise<boolean>(resolve => {
    server.once('error', () => { resolve(false) }).once('listening', () => { resolve(true) })
  })
  server.listen(port, '127.0.0.1')
  const isIt = await outcome
  if (isIt) await new Promise(resolve => { server.close(resolve) })
  return isIt
}
