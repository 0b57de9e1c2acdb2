/** A server on the stage, asked as an operator asks it. */
import { answer, type AdminWorld } from '../../lib/admin/commands.js'
import type { Talk, Told } from '../../lib/admin/talk.js'
import type { Server } from '../../lib/host/server.js'

/** What stands beside the hosts, made up. */
export function worldOf (server: Server, how: Partial<AdminWorld> = {}): AdminWorld {
  return { server, status: () => ({ version: '0.0.0' }), measures: () => [], federation: undefined, reload: () => Promise.resolve([]), stop: () => Promise.resolve(), ...how }
}

/** Keeps what is told; `gone` after so many words. */
export class Listening implements Talk {
  readonly problems: string[] = []
  readonly notes: string[] = []
  readonly progress: string[] = []
  readonly #most: number

  constructor (most = Infinity) { this.#most = most }

  get gone (): boolean { return this.problems.length + this.progress.length >= this.#most }

  async tell (told: Told): Promise<void> {
    if (told.kind === 'problem') this.problems.push(told.text)
    else if (told.kind === 'note') this.notes.push(told.text)
    else this.progress.push(told.text)
    return Promise.resolve()
  }
}

interface How { readonly input?: string, readonly talk?: Talk }

/** Asks, in the words of a command line. */
export function asks (server: Server, command: string, args: readonly string[] = [], how: How = {}): Promise<unknown> {
  const { input, talk = new Listening() } = how
  return answer(worldOf(server), { command, args, ...input === undefined ? {} : { input } }, talk)
}
