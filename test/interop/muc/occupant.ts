/** Somebody in a room who uses slixmpp: occupant.py, which obeys a test. */
import { join } from 'node:path'
import type { Test } from 'tap'
import { PACKAGE_ROOT } from '../../../lib/base/package.js'
import { Program } from '../process.js'
import type { ServerUnderTest } from '../server.js'

const PYTHON = '/usr/bin/python3' // Debian's, which has Debian's python3-slixmpp
const SCRIPT = join(PACKAGE_ROOT, 'test', 'interop', 'muc', 'occupant.py')

/** The programs that it needs, for `missing`. */
export const OCCUPANT_NEEDS = { [PYTHON]: 'python3', '/usr/lib/python3/dist-packages/slixmpp/__init__.py': 'python3-slixmpp' }

export class Occupant {
  readonly #program: Program

  private constructor (program: Program) { this.#program = program }

  /** Logs in; the program is ended when the test ends. */
  static async of (t: Test, server: ServerUnderTest, local: string, password: string, room: string): Promise<Occupant> {
    const program = new Program(PYTHON, [SCRIPT, '--host', server.host, '--port', String(server.port), '--jid', `${local}@${server.domain}`,
      '--password', password, '--room', room, '--ca', server.certificate], { env: { LC_ALL: 'C.UTF-8' } })
    t.teardown(() => program.stop())
    await program.says(/^online$/m)
    return new Occupant(program)
  }

  /** Does what a line says, and waits until the program has done it. */
  async does (line: string): Promise<void> {
    const before = this.#program.said.length
    this.#program.type(`${line}\n`)
    await this.#program.says(/^done: /m, undefined, before)
  }

  /** Waits until the room has told this, which is a whole line. */
  async hears (line: string): Promise<void> { await this.#program.says(wholeLine(line)) }

  /** Returns how many times the room has told this so far. */
  heard (line: string): number { return this.#program.said.split('\n').filter(said => said === line).length }
}

const wholeLine = (text: string): RegExp => new RegExp(`^${text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')}$`, 'm')
