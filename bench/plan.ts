/** How much is measured: numbers of users, seconds, rounds. */
import type { Job } from './jobs.js'
import type { Server } from './servers/server.js'

/** What can be asked for with --only. */
export const SCENES = ['messages', 'federation', 'logins', 'memory', 'presence', 'catchup'] as const
export type Scene = typeof SCENES[number]

/** One line of the table: a scene, over TLS or not. */
export interface Case { readonly scene: Scene, readonly secure: 'none' | 'starttls' }

/** The sizes of a run. */
export interface Plan {
  readonly rounds: number
  readonly memoryRounds: number
  /** Seconds after which no further round begins. */
  readonly budget: number
  /** Seconds after which the run is broken off. */
  readonly limit: number
  readonly chatUsers: readonly string[]
  readonly idleUsers: readonly string[]
  readonly friendUsers: readonly string[]
  readonly contacts: number
  readonly warmSeconds: number
  readonly seconds: number
  readonly logins: number
  readonly settleSeconds: number
  readonly archived: number
  readonly passes: number
}

/** The plan of a full run, or of a quick one. */
export function planOf (quick: boolean, rounds: number | undefined): Plan {
  return quick
    ? {
        rounds: rounds ?? 1, memoryRounds: 1, budget: 80, limit: 120, chatUsers: named('chat', 50), idleUsers: named('idle', 500),
        friendUsers: named('friend', 60), contacts: 10, warmSeconds: 0.5, seconds: 1.5, logins: 150, settleSeconds: 1, archived: 1000, passes: 2,
      }
    : {
        rounds: rounds ?? 3, memoryRounds: Math.min(rounds ?? 2, 2), budget: 360, limit: 480, chatUsers: named('chat', 100),
        idleUsers: named('idle', 1000), friendUsers: named('friend', 200), contacts: 20, warmSeconds: 1, seconds: 2.5, logins: 300,
        settleSeconds: 2, archived: 1000, passes: 10,
      }
}

/** Measured both ways. The others are without TLS for their clients: what it adds, messages show. */
const IN_TLS_AS_WELL: readonly Scene[] = ['messages', 'logins', 'memory']

/** The cases of some scenes, in the order of the table. */
export function casesOf (scenes: readonly Scene[]): Case[] {
  return SCENES.filter(scene => scenes.includes(scene)).flatMap<Case>(scene => [
    { scene, secure: 'none' }, ...IN_TLS_AS_WELL.includes(scene) ? [{ scene, secure: 'starttls' }] as const : [],
  ])
}

const CHATTING: readonly Scene[] = ['messages', 'federation', 'logins']
const ARCHIVE_USERS = named('archive', 2)

/** The accounts that some scenes need. */
export function accountsOf (plan: Plan, scenes: readonly Scene[]): string[] {
  return [
    ...scenes.some(scene => CHATTING.includes(scene)) ? plan.chatUsers : [],
    ...scenes.includes('memory') ? plan.idleUsers : [],
    ...scenes.includes('presence') ? plan.friendUsers : [],
    ...scenes.includes('catchup') ? ARCHIVE_USERS : [],
  ]
}

/** What the load generator is asked to do for a case. `neighbour`: the other of two servers that speak with each other. */
export function jobOf (plan: Plan, { scene, secure }: Case, server: Server, neighbour: Server): Job {
  const aimed = { target: server.target(secure), pids: [server.pid] }
  const { warmSeconds, seconds, contacts, settleSeconds } = plan
  switch (scene) {
    case 'messages': return { kind: 'messages', ...aimed, users: plan.chatUsers, outstanding: 20, warmSeconds, seconds }
    case 'federation': return {
      kind: 'messages', target: aimed.target, elsewhere: neighbour.target(secure), pids: [server.pid, neighbour.pid], users: plan.chatUsers,
      outstanding: 20, warmSeconds, seconds,
    }
    case 'logins': return { kind: 'logins', ...aimed, users: plan.chatUsers, warmLogins: plan.chatUsers.length, logins: plan.logins, concurrency: 32 }
    case 'memory': return { kind: 'memory', ...aimed, users: plan.idleUsers, warmUsers: plan.idleUsers.length / 5, settleSeconds }
    case 'presence':
      return { kind: 'presence', ...aimed, users: plan.friendUsers, contacts, window: plan.friendUsers.length, warmSeconds, seconds }
    case 'catchup': return { kind: 'catchup', ...aimed, users: ARCHIVE_USERS, messages: plan.archived, passes: plan.passes, settleSeconds }
  }
}

/** What makes friends of the users of the presence scene. */
export function friendsOf (plan: Plan, server: Server): Job {
  return { kind: 'friends', target: server.target('none'), pids: [server.pid], users: plan.friendUsers, contacts: plan.contacts }
}

function named (name: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${name}${i}`)
}
