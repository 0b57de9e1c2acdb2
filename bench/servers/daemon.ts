/** A server's process: it is started in its own process group, is ready when it listens, and is always ended. */
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'

/** A command to run, and the signs that it has started. */
export interface Command {
  readonly name: string
  readonly path: string
  readonly args: readonly string[]
  readonly folder: string
  readonly env?: Readonly<Record<string, string>>
  /** The server has started when all of these are true. */
  readonly signs: readonly Sign[]
  readonly patience: number
}

/** A sign that a server has started; true if it is there. */
export type Sign = () => Promise<boolean>

const running = new Set<Daemon>()

/** Kills every daemon that still runs, when the bench exits. */
export function killAll (): void {
  for (const daemon of running) daemon.kill('SIGKILL')
}

/** One process and its descendants. */
export class Daemon {
  readonly #command: Command
  readonly #child: ChildProcess
  readonly #log: string
  readonly #ended: Promise<void>
  #alive = true

  private constructor (command: Command) {
    this.#command = command
    this.#log = join(command.folder, `${command.name}.out`)
    const log = openSync(this.#log, 'w')
    // In its own group, it does not receive Ctrl-C of our terminal, and the whole group can be killed by its number.
    this.#child = spawn(command.path, command.args, {
      cwd: command.folder, detached: true, stdio: ['ignore', log, log], env: { ...process.env, ...command.env },
    })
    closeSync(log)
    running.add(this)
    this.#ended = new Promise(resolve => {
      const end = (): void => { this.#alive = false; running.delete(this); resolve() }
      this.#child.once('exit', end).once('error', end)
    })
  }

  /** Starts the command; resolves when all its signs are there. If not, throws with the end of its output. */
  static async start (command: Command): Promise<Daemon> {
    const daemon = new Daemon(command)
    const deadline = performance.now() + command.patience
    for (const sign of command.signs) {
      while (!await sign()) {
        if (!daemon.#alive || performance.now() > deadline) {
          await daemon.stop()
          throw new Error(`${command.name} did not start: ${daemon.lastWords()}`)
        }
        await new Promise(resolve => setTimeout(resolve, 50))
      }
    }
    return daemon
  }

  /** The id of the process. Throws if the process has ended. */
  get pid (): number {
    if (!this.#alive || this.#child.pid === undefined) throw new Error(`${this.#command.name} has ended: ${this.lastWords()}`)
    return this.#child.pid
  }

  /** Returns the end of its output. */
  lastWords (): string {
    return readFileSync(this.#log, 'utf8').slice(-2000)
  }

  /** Sends SIGTERM, and SIGKILL after 10 s; resolves when the process has ended. */
  async stop (): Promise<void> {
    this.kill('SIGTERM')
    const timer = setTimeout(() => { this.kill('SIGKILL') }, 10_000)
    await this.#ended
    clearTimeout(timer)
  }

  /** Sends a signal to the whole group. */
  kill (signal: NodeJS.Signals): void {
    if (!this.#alive || this.#child.pid === undefined) return
    process.kill(-this.#child.pid, signal)
  }
}

/** Returns free ports of an address, all different. They stay free, because nobody else uses the address. */
export async function freePorts (address: string, count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, async () => {
    const server = createServer()
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, address, resolve))
    return server
  }))
  return await Promise.all(servers.map(async server => {
    const { port } = addressOf(server.address())
    await new Promise(resolve => server.close(resolve))
    return port
  }))
}

function addressOf (address: AddressInfo | string | null): AddressInfo {
  if (typeof address !== 'object' || address === null) throw new Error('a listening socket has an address')
  return address
}

/** Returns signs that a server listens on these ports. */
export function listening (host: string, ports: readonly number[]): Sign[] {
  return ports.map(port => async () => await new Promise<boolean>(resolve => {
    const socket = connect({ host, port })
    socket.once('connect', () => { socket.destroy(); resolve(true) }).once('error', () => { resolve(false) })
  }))
}
