/** How much is measured: numbers of users, seconds, rounds. */
import type { Target } from './client.js'
import type { Job } from './jobs.js'
import type { Server } from './servers/server.js'

/** What can be asked for with --only. */
export const SCENES = ['messages', 'managed', 'federation', 'logins', 'resume', 'memory', 'presence', 'quiet', 'catchup'] as const
export type Scene = typeof SCENES[number]

/** What is measured at a time: a scene, over TLS or not. */
export interface Case {
  readonly scene: Scene
  readonly secure: Target['secure']
  /** Of a phone: nobody looks at it. */
  readonly inactive?: boolean
}

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
        rounds: rounds ?? 1, memoryRounds: 1, budget: 110, limit: 360, chatUsers: named('chat', 50), idleUsers: named('idle', 500),
        friendUsers: named('friend', 60), contacts: 10, warmSeconds: 0.5, seconds: 1.5, logins: 150, settleSeconds: 1, archived: 1000, passes: 2,
      }
    : {
        rounds: rounds ?? 3, memoryRounds: Math.min(rounds ?? 2, 2), budget: 1200, limit: 1500, chatUsers: named('chat', 100),
        idleUsers: named('idle', 1000), friendUsers: named('friend', 200), contacts: 20, warmSeconds: 1, seconds: 2.5, logins: 300,
        settleSeconds: 2, archived: 1000, passes: 10,
      }
}

/** The cases of some scenes, in the order of the table. */
export function casesOf (scenes: readonly Scene[]): Case[] {
  return SCENES.filter(scene => scenes.includes(scene)).flatMap<Case>(scene => {
    switch (scene) {
      case 'messages': case 'logins': case 'memory': return [{ scene, secure: 'none' }, { scene, secure: 'starttls' }]
      case 'resume': return [{ scene, secure: 'none' }, { scene, secure: 'starttls' }, { scene, secure: 'direct' }]
      case 'quiet': return [{ scene, secure: 'none' }, { scene, secure: 'none', inactive: true }]
      // Without TLS for their clients: what it adds, messages show.
      default: return [{ scene, secure: 'none' }]
    }
  })
}

/** Whether a server can do this at all. */
export function isPossible ({ scene, secure }: Case, server: Server): boolean {
  return scene !== 'resume' || secure !== 'direct' || server.resumesAtOnce
}

/** How often a scene is measured. */
export function roundsOf (plan: Plan, scene: Scene): number {
  if (scene === 'memory') return plan.memoryRounds
  // What comes to a phone is counted, and the same each time.
  return scene === 'quiet' ? 1 : plan.rounds
}

const CHATTING: readonly Scene[] = ['messages', 'managed', 'federation', 'logins', 'resume']
const ARCHIVE_USERS = named('archive', 2)

/** Whether one of the scenes is among friends. */
export function needsFriends (scenes: readonly Scene[]): boolean {
  return scenes.includes('presence') || scenes.includes('quiet')
}

/** The accounts that some scenes need. */
export function accountsOf (plan: Plan, scenes: readonly Scene[]): string[] {
  return [
    ...scenes.some(scene => CHATTING.includes(scene)) ? plan.chatUsers : [],
    ...scenes.includes('memory') ? plan.idleUsers : [],
    ...needsFriends(scenes) ? plan.friendUsers : [],
    ...scenes.includes('catchup') ? ARCHIVE_USERS : [],
  ]
}

/** What the load generator is asked to do for a case. `neighbour`: the other of two servers that speak with each other. */
export function jobOf (plan: Plan, { scene, secure, inactive = false }: Case, server: Server, neighbour: Server): Job {
  const aimed = { target: server.target(secure), pids: [server.pid] }
  const { warmSeconds, seconds, contacts, settleSeconds } = plan
  switch (scene) {
    case 'messages': case 'managed':
      return { kind: 'messages', ...aimed, users: plan.chatUsers, outstanding: 20, warmSeconds, seconds, managed: scene === 'managed' }
    case 'federation': return {
      kind: 'messages', target: aimed.target, elsewhere: neighbour.target(secure), pids: [server.pid, neighbour.pid], users: plan.chatUsers,
      outstanding: 20, warmSeconds, seconds, managed: false,
    }
    case 'resume': return {
      kind: 'resume', ...aimed, users: plan.chatUsers, warmTimes: 1, times: plan.logins / plan.chatUsers.length, concurrency: 32,
      atOnce: secure === 'direct',
    }
    case 'quiet': return { kind: 'quiet', ...aimed, users: plan.friendUsers, contacts, inactive }
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
