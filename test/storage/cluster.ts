/** A PostgreSQL server of a test's own: its data and its socket are in a temporary folder, and it has no port. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createConnection, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

const VERSIONS = '/usr/lib/postgresql'
const FOLDER = existsSync(VERSIONS)
  ? readdirSync(VERSIONS).sort((a, b) => Number(b) - Number(a)).map(version => join(VERSIONS, version, 'bin')).find(folder => existsSync(join(folder, 'initdb')))
  : undefined

/** Why tests that need PostgreSQL are skipped, or false if PostgreSQL is there. */
export const MISSING = FOLDER === undefined && 'PostgreSQL is missing: apt-get install postgresql'

/** The superuser's password: no log line may show it. */
export const PASSWORD = 'O-Romeo-Romeo'

export class Cluster {
  readonly #folder = mkdtempSync(join(tmpdir(), 'sestina-pg-'))
  #process: ChildProcess | undefined
  #databases = 0

  /** Starts a server that runs until the test ends. */
  static async start (t: Test): Promise<Cluster> {
    const cluster = new Cluster()
    t.teardown(() => cluster.#remove())
    const secret = join(cluster.#folder, 'secret')
    writeFileSync(secret, PASSWORD)
    for (const path of [cluster.#folder, secret]) give(path)
    const made = spawnSync(...program('initdb', ['-D', cluster.#data, '-U', 'sestina', '--auth=scram-sha-256', `--pwfile=${secret}`,
      '-E', 'UTF8', '--no-locale', '--no-sync']), { encoding: 'utf8', cwd: cluster.#folder })
    if (made.status !== 0) throw new Error(made.stderr)
    await cluster.start()
    return cluster
  }

  get #data (): string { return join(this.#folder, 'data') }

  /** Resolves once the server accepts connections. */
  async start (): Promise<void> {
    const server = spawn(...program('postgres', ['-D', this.#data, '-k', this.#folder, '-c', 'listen_addresses=', '-c', 'fsync=off',
      '-c', 'max_connections=40']), { stdio: ['ignore', 'ignore', 'pipe'], cwd: this.#folder })
    this.#process = server
    let said = ''
    await new Promise<void>((resolve, reject) => {
      server.stderr.on('data', (chunk: Buffer) => {
        said += chunk.toString()
        if (said.includes('ready to accept connections')) resolve()
      })
      server.once('exit', () => { reject(new Error(said)) })
    })
  }

  /**
   * Stops the server: 'SIGQUIT' at once, like a crash; 'SIGINT' in order, ending every connection. Resolves once it is
   * gone.
   */
  async stop (signal: 'SIGQUIT' | 'SIGINT'): Promise<void> {
    const server = this.#process
    if (server?.exitCode !== null || server.signalCode !== null) return
    const gone = once(server, 'exit')
    server.kill(signal)
    await gone
  }

  url (database: string): string { return `postgres://sestina:${PASSWORD}@/${database}?host=${encodeURIComponent(this.#folder)}` }

  /** Creates an empty database and returns its URL. */
  async database (more = ''): Promise<string> {
    const name = `d${++this.#databases}`
    await this.query(this.url('postgres'), `CREATE DATABASE ${name} TEMPLATE template0 ${more}`)
    return this.url(name)
  }

  /** Runs a query on a connection of its own. */
  async query (url: string, sql: string): Promise<Record<string, any>[]> {
    const { default: pg } = await import('pg')
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      const result = await client.query(sql)
      return result.rows ?? []
    } finally {
      await client.end()
    }
  }

  /** Returns a connection path to the server that can be cut. */
  async line (t: Test): Promise<Line> {
    const line = new Line(this.#folder)
    t.teardown(() => line.close())
    await line.open()
    return line
  }

  async #remove (): Promise<void> {
    await this.stop('SIGQUIT')
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

/** Stands between a client and the server, and cuts their connection on request. */
export class Line {
  readonly #real: string
  readonly #folder = mkdtempSync(join(tmpdir(), 'sestina-line-'))
  readonly #server = createServer(socket => { this.#join(socket) })
  #cut: 'answer' | 'question' | undefined
  cuts = 0

  constructor (real: string) { this.#real = real }

  async open (): Promise<void> {
    this.#server.listen(join(this.#folder, SOCKET))
    await once(this.#server, 'listening')
  }

  close (): void {
    this.#server.close()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  url (url: string): string { return url.replace(encodeURIComponent(this.#real), encodeURIComponent(this.#folder)) }

  /** Cuts the connection after the server has handled the next query, before its answer arrives. */
  cutAtNextAnswer (): void { this.#cut = 'answer' }
  /** Cuts the connection before the next query arrives. */
  cutAtNextQuestion (): void { this.#cut = 'question' }

  #join (client: Socket): void {
    const server = createConnection(join(this.#real, SOCKET))
    const cuts = (where: 'answer' | 'question'): boolean => {
      if (this.#cut !== where) return false
      this.#cut = undefined
      this.cuts++
      client.destroy()
      server.end()
      return true
    }
    client.on('data', chunk => { if (!cuts('question')) server.write(chunk) })
    server.on('data', chunk => { if (!cuts('answer') && !client.destroyed) client.write(chunk) })
    for (const [one, other] of [[client, server], [server, client]] as const) {
      one.on('error', () => { other.destroy() })
      one.on('close', () => { other.end() })
    }
  }
}

const SOCKET = '.s.PGSQL.5432'

const IS_ROOT = process.getuid?.() === 0

/** Returns the command for a program of PostgreSQL, which does not run as root. */
function program (name: string, args: readonly string[]): [command: string, args: string[]] {
  const command = join(FOLDER ?? '', name)
  return IS_ROOT ? ['setpriv', ['--reuid=postgres', '--regid=postgres', '--clear-groups', command, ...args]] : [command, [...args]]
}

function give (path: string): void {
  chmodSync(path, 0o700)
  if (!IS_ROOT) return
  const id = (flag: string): number => Number(spawnSync('id', [flag, 'postgres'], { encoding: 'utf8' }).stdout)
  chownSync(path, id('-u'), id('-g'))
}
