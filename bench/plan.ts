/** The sizes of a run: numbers of users, seconds and rounds. */
import type { Target } from './client.js'
import type { Job } from './jobs.js'
import { serviceAt, type Server } from './servers/server.js'

/** The scenes, as --only takes them. */
export const SCENES = ['messages', 'managed', 'federation', 'logins', 'resume', 'memory', 'presence', 'quiet', 'catchup', 'pep', 'pepMany', 'publish', 'retrieve'] as const
export type Scene = typeof SCENES[number]

/** One measurement: a scene, with or without TLS. */
export interface Case {
  readonly scene: Scene
  readonly secure: Target['secure']
  /** For `quiet`: the phone is inactive. */
  readonly inactive?: boolean
}

/** The sizes of a run. */
export interface Plan {
  readonly rounds: number
  readonly memoryRounds: number
  /** Seconds after which no further round begins. */
  readonly budget: number
  /** Seconds after which the run is aborted. */
  readonly limit: number
  readonly chatUsers: readonly string[]
  readonly idleUsers: readonly string[]
  readonly friendUsers: readonly string[]
  /** The users who want the personal events of a star; in the scene `pep` the first `fewFans` of them alone. */
  readonly fans: readonly string[]
  readonly fewFans: number
  readonly contacts: number
  readonly warmSeconds: number
  readonly seconds: number
  readonly logins: number
  readonly settleSeconds: number
  readonly archived: number
  readonly passes: number
}

/** Returns the plan of a full run, or of a quick one. */
export function planOf (quick: boolean, rounds: number | undefined): Plan {
  return quick
    ? {
        rounds: rounds ?? 1, memoryRounds: 1, budget: 110, limit: 360, chatUsers: named('chat', 50), idleUsers: named('idle', 500),
        friendUsers: named('friend', 60), fans: named('fan', 200), fewFans: 50, contacts: 10, warmSeconds: 0.5, seconds: 1.5, logins: 150, settleSeconds: 1, archived: 1000, passes: 2,
      }
    : {
        rounds: rounds ?? 3, memoryRounds: Math.min(rounds ?? 2, 2), budget: 1200, limit: 1500, chatUsers: named('chat', 100),
        idleUsers: named('idle', 1000), friendUsers: named('friend', 200), fans: named('fan', 2000), fewFans: 200, contacts: 20, warmSeconds: 3, seconds: 3, logins: 600,
        settleSeconds: 2, archived: 1000, passes: 40,
      }
}

/** Returns the cases of some scenes, in the order of the table. */
export function casesOf (scenes: readonly Scene[]): Case[] {
  return SCENES.filter(scene => scenes.includes(scene)).flatMap<Case>(scene => {
    switch (scene) {
      case 'messages': case 'logins': case 'memory': return [{ scene, secure: 'none' }, { scene, secure: 'starttls' }]
      case 'resume': return [{ scene, secure: 'none' }, { scene, secure: 'starttls' }, { scene, secure: 'direct' }]
      case 'quiet': return [{ scene, secure: 'none' }, { scene, secure: 'none', inactive: true }]
      // These run without TLS for clients. The scene `messages` shows what TLS adds.
      default: return [{ scene, secure: 'none' }]
    }
  })
}

/** True if a server supports this case. */
export function isPossible ({ scene, secure }: Case, server: Server): boolean {
  return scene !== 'resume' || secure !== 'direct' || server.resumesAtOnce
}

/** Returns how often a scene is measured. */
export function roundsOf (plan: Plan, scene: Scene): number {
  if (scene === 'memory') return plan.memoryRounds
  // The bytes for the phone are counted, and are the same each time.
  return scene === 'quiet' ? 1 : plan.rounds
}

const CHATTING: readonly Scene[] = ['messages', 'managed', 'federation', 'logins', 'resume', 'publish', 'retrieve']
const ARCHIVE_USERS = named('archive', 2)

/** True if one of the scenes needs users who are each other's contacts. */
export function needsFriends (scenes: readonly Scene[]): boolean {
  return scenes.includes('presence') || scenes.includes('quiet')
}

/** Returns the accounts that some scenes need. */
export function accountsOf (plan: Plan, scenes: readonly Scene[]): string[] {
  return [
    ...scenes.some(scene => CHATTING.includes(scene)) ? plan.chatUsers : [],
    ...scenes.includes('memory') ? plan.idleUsers : [],
    ...needsFriends(scenes) ? plan.friendUsers : [],
    ...scenes.includes('catchup') ? ARCHIVE_USERS : [],
    ...new Set(fansOf(plan, scenes).flatMap(({ star, users }) => [star, ...users])),
  ]
}

/** A star with its fans. */
interface Fame { readonly star: string, readonly users: readonly string[] }

/** Returns the stars that some scenes need. */
function fansOf (plan: Plan, scenes: readonly Scene[]): readonly Fame[] {
  const few = { star: 'star0', users: plan.fans.slice(0, plan.fewFans) }
  const many = { star: 'star1', users: plan.fans }
  return [...scenes.includes('pep') ? [few] : [], ...scenes.includes('pepMany') ? [many] : []]
}

/** Returns the jobs that make contacts of stars and fans. */
export function fameOf (plan: Plan, scenes: readonly Scene[], server: Server): readonly Job[] {
  return fansOf(plan, scenes).map(fame => ({ kind: 'fans', target: server.target('none'), pids: [server.pid], ...fame }))
}

/** Returns the job of a scene of publish-subscribe. */
function nodesJobOf (plan: Plan, scene: 'pep' | 'pepMany' | 'publish' | 'retrieve', server: Server): Job {
  const { warmSeconds, seconds } = plan
  const aimed = { target: server.target('none'), pids: [server.pid], warmSeconds, seconds }
  if (scene === 'publish' || scene === 'retrieve') {
    return { kind: scene, ...aimed, users: plan.chatUsers, service: serviceAt(server.place), window: 20 }
  }
  const [fame = { star: '', users: [] }] = fansOf(plan, [scene])
  return { kind: 'pep', ...aimed, ...fame, window: 4 }
}

/** Returns the load generator's job for a case. `neighbour` is the other server, for the case of two servers. */
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
      kind: 'resume', ...aimed, users: plan.chatUsers, warmTimes: 2, times: plan.logins / plan.chatUsers.length, concurrency: 32,
      atOnce: secure === 'direct',
    }
    case 'quiet': return { kind: 'quiet', ...aimed, users: plan.friendUsers, contacts, inactive }
    case 'logins': return { kind: 'logins', ...aimed, users: plan.chatUsers, warmLogins: plan.logins / 2, logins: plan.logins, concurrency: 32 }
    case 'memory': return { kind: 'memory', ...aimed, users: plan.idleUsers, warmUsers: plan.idleUsers.length / 5, settleSeconds }
    case 'presence':
      return { kind: 'presence', ...aimed, users: plan.friendUsers, contacts, window: plan.friendUsers.length, warmSeconds, seconds }
    case 'pep': case 'pepMany': case 'publish': case 'retrieve': return nodesJobOf(plan, scene, server)
    case 'catchup': return { kind: 'catchup', ...aimed, users: ARCHIVE_USERS, messages: plan.archived, passes: plan.passes, seconds: 3 * seconds, settleSeconds }
  }
}

/** Returns the job that makes contacts of the users of the presence scene. */
export function friendsOf (plan: Plan, server: Server): Job {
  return { kind: 'friends', target: server.target('none'), pids: [server.pid], users: plan.friendUsers, contacts: plan.contacts }
}

function named (name: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${name}${i}`)
}
