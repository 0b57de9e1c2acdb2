/** Starts a server process for tests of attacks, and asks it for its state. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { only } from '../only.js'
import type { Listening } from '../../lib/main.js'
import { UNMEASURED } from '../interop/process.js'
import type { Turns } from './turns.js'
import { temporaryFolder } from '../temporary-folder.js'

/** The state of the server after garbage collections. */
export interface Report {
  readonly heap: number
  readonly external: number
  readonly timers: number
  readonly resources: Readonly<Record<string, number>>
  readonly files: number
  readonly sessions: number
  readonly waits: number
  readonly connections: number
  /** The CPU time that its start took, in milliseconds. */
  readonly started: number
}

export type Question = { readonly id: number } & (
  | { readonly ask: 'ports' | 'report' | 'connections' | 'single timers' | 'lag' | 'turns' | 'memory' | 'errors' | 'stop' }
  | { readonly ask: 'fault', readonly kind: 'rejection' | 'exception' }
  | { readonly ask: 'account', readonly jid: string, readonly password: string })
type Asked = Question extends infer Q ? Q extends { readonly id: number } ? Omit<Q, 'id'> : never : never
export interface Answer { readonly id: number, readonly value: unknown, readonly failure?: string }

export const DOMAIN = 'a'
export const PASSWORD = 'a secret'
const ENTRY = join(PACKAGE_ROOT, 'dist', 'test', 'hostile', 'entry.js')
/** Only a hang lasts longer, in milliseconds. */
const PATIENCE = 600_000

export interface ServerHow {
  /** Conf lines besides the listeners, the log and the host. */
  readonly conf?: string
  /** Modules that are on besides `limits`. Default: those of the first tests. */
  readonly modules?: readonly string[]
  /** The settings of the module `limits`. Default: as shipped. */
  readonly limits?: string
  /** Conf lines for each listener. */
  readonly listener?: string
  readonly storage?: 'memory' | 'sqlite'
  readonly durability?: 'disk' | 'os'
  /** Programs that start node: `strace …`, `prlimit …`. */
  readonly under?: readonly string[]
  readonly folder?: string
}

export class ServerProcess {
  readonly folder: string
  readonly child: ChildProcess
  ports: Readonly<Record<Listening['tls'], number>> = { none: 0, required: 0, direct: 0 }
  /** Of the listener for other servers; 0 if the conf has none. */
  serverPort = 0
  #ids = 0
  readonly #waiting = new Map<number, (answer: Answer) => void>()

  static async start (t: Test, how: ServerHow = {}): Promise<ServerProcess> {
    const server = new ServerProcess(how.folder ?? temporaryFolder(t), how)
    t.teardown(() => server.stop())
    await new Promise<void>((resolve, reject) => {
      server.#waiting.set(0, () => { resolve() })
      server.child.once('exit', code => { reject(new Error(`the server ended with ${String(code)}`)) })
    })
    const listening = await server.ask({ ask: 'ports' }) as readonly Listening[]
    server.ports = Object.fromEntries(listening.filter(listener => listener.for === 'clients').map(({ tls, port }) => [tls, port])) as typeof server.ports
    server.serverPort = listening.find(listener => listener.for === 'servers')?.port ?? 0
    return server
  }

  private constructor (folder: string, how: ServerHow) {
    this.folder = folder
    const conf = join(folder, 'sestina.toml')
    writeFileSync(conf, confOf(how))
    const env = { PATH: process.env['PATH'], HOME: process.env['HOME'] }
    // The coverage tools of the test must not measure the server: they make it slow.
    const [program, ...args] = [...UNMEASURED, ...how.under ?? []] as [string, ...string[]]
    this.child = spawn(program, [...args, process.execPath, '--expose-gc', ENTRY, conf], { env, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.child.on('message', (answer: Answer) => {
      this.#waiting.get(answer.id)?.(answer)
      this.#waiting.delete(answer.id)
    })
  }

  async ask (question: Asked): Promise<unknown> {
    const id = ++this.#ids
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => { reject(new Error(`no answer to ${question.ask}`)) }, PATIENCE)
      this.#waiting.set(id, ({ value, failure }) => {
        clearTimeout(timer)
        if (failure === undefined) resolve(value)
        else reject(new Error(`${question.ask} failed: ${failure}`))
      })
      this.child.send({ id, ...question })
    })
  }

  async report (): Promise<Report> { return await this.ask({ ask: 'report' }) as Report }
  async lag (): Promise<number> { return await this.ask({ ask: 'lag' }) as number }
  /** Returns the turns of the server's event loop since the last call. */
  async turns (): Promise<Turns> { return await this.ask({ ask: 'turns' }) as Turns }
  async memory (): Promise<number> { return await this.ask({ ask: 'memory' }) as number }
  async errors (): Promise<readonly string[]> { return await this.ask({ ask: 'errors' }) as readonly string[] }
  async account (name: string): Promise<void> { await this.ask({ ask: 'account', jid: `${name}@${DOMAIN}`, password: PASSWORD }) }

  /** Waits until at most `connections` connections are left. Throws if that takes longer than `PATIENCE`. */
  async quiet (connections = 0): Promise<void> {
    const end = performance.now() + PATIENCE
    while (await this.ask({ ask: 'connections' }) as number > connections) {
      if (performance.now() > end) throw new Error('connections are left')
      await new Promise(resolve => { setTimeout(resolve, 20) })
    }
  }

  /** Waits until no one-shot timer is left: some writes happen a moment later. Gives up after a minute. */
  async rested (): Promise<void> {
    const end = performance.now() + 60_000
    while (performance.now() < end && await this.ask({ ask: 'single timers' }) !== 0) {
      await new Promise(resolve => { setTimeout(resolve, 50) })
    }
  }

  async stop (): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const gone = once(this.child, 'exit')
    const timer = setTimeout(() => { this.child.kill('SIGKILL') }, 120_000)
    if (this.child.connected) await this.ask({ ask: 'stop' }).catch(() => {})
    if (this.child.connected) this.child.disconnect()
    await gone
    clearTimeout(timer)
  }
}

/** The modules that the shipped conf turns on, and registration. */
export const SHIPPED = [
  'roster', 'presence', 'message', 'carbons', 'mam', 'offline', 'csi', 'push', 'stream-management', 'disco', 'caps', 'blocking', 'private', 'vcard', 'last-activity',
  'version', 'time', 'ping', 'client-access-management', 'register',
]
const MODULES = [
  'roster', 'presence', 'message', 'carbons', 'offline', 'disco', 'caps', 'blocking', 'private', 'vcard', 'last-activity', 'version', 'time', 'ping', 'register',
]

function confOf ({ conf = '', limits = 'true', listener = '', storage = 'memory', durability = 'disk', modules = MODULES }: ServerHow): string {
  const listen = (['none', 'required', 'direct'] as const)
    .map(tls => `[[listen]]\nfor = "clients"\naddress = ["127.0.0.1"]\nport = 0\ntls = "${tls}"\n${listener}\n`).join('')
  return `data = "data"\n[storage]\ndriver = "${storage}"\ndurability = "${durability}"\n${listen}[authentication]\niterations = 4096\n${conf}\n[modules]\n${only(`${modules.map(name => `${name}${name.includes(' ') ? '' : ' = true'}\n`).join('')}limits = ${limits}`)}[host.${DOMAIN}]\n`
}
