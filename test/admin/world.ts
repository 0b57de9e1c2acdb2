/** A server in a scene, asked as an operator asks it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { runCommand } from '../../lib/admin/commands.js'
import type { AdminDeps } from '../../lib/admin/world.js'
import type { Operator, Report } from '../../lib/admin/talk.js'
import type { Server } from '../../lib/host/server.js'

/** Returns a path that is short enough for a Unix socket (unix(7): 107 bytes). */
export function pathFor (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'sestina-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  return join(folder, 'admin.sock')
}

/** The world of the admin commands, with stubs for everything besides the hosts. */
export function worldOf (server: Server, how: Partial<AdminDeps> = {}): AdminDeps {
  return { server, status: () => ({ version: '0.0.0' }), measures: () => [], federation: undefined, reload: () => Promise.resolve([]), warnings: () => [], stop: () => Promise.resolve(), ...how }
}

/** Records what a command reports. `gone` is true after `most` problems and progress lines. */
export class RecordedTalk implements Operator {
  readonly problems: string[] = []
  readonly notes: string[] = []
  readonly progress: string[] = []
  readonly traced: Report[] = []
  readonly #most: number

  constructor (most = Infinity) { this.#most = most }

  get gone (): boolean { return this.problems.length + this.progress.length >= this.#most }

  async tell (told: Report): Promise<void> {
    if (told.kind === 'problem') this.problems.push(told.text)
    else if (told.kind === 'note') this.notes.push(told.text)
    else if (told.kind === 'progress') this.progress.push(told.text)
    else this.traced.push(told)
    return Promise.resolve()
  }
}

interface How { readonly input?: string, readonly talk?: Operator }

/** Runs a command in the words of a command line, and returns its answer. */
export function asks (server: Server, command: string, args: readonly string[] = [], how: How = {}): Promise<unknown> {
  const { input, talk = new RecordedTalk() } = how
  return runCommand(worldOf(server), { command, args, ...input === undefined ? {} : { input } }, talk)
}
