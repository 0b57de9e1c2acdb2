/** The jobs and outcomes that the bench and the load generator exchange. They are plain values, to cross processes. */
import type { Target } from './client.js'

/** The fields of every job: the target, and the processes whose cost is measured. */
interface Aimed { readonly target: Target, readonly pids: readonly number[] }

/** Chat messages between pairs of users. A fixed number of messages is always in flight. */
export interface MessagesJob extends Aimed {
  readonly kind: 'messages'
  readonly users: readonly string[]
  /** Stanzas are acknowledged both ways (XEP-0198). */
  readonly managed: boolean
  /** Another server, which hosts every second user. Each message then goes from one server to the other. */
  readonly elsewhere?: Target
  readonly outstanding: number
  readonly warmSeconds: number
  readonly seconds: number
}

/** Users who log in and out, `concurrency` of them at a time. */
export interface LoginsJob extends Aimed {
  readonly kind: 'logins'
  readonly users: readonly string[]
  readonly warmLogins: number
  readonly logins: number
  readonly concurrency: number
}

/** Users whose connection is cut and who resume on a new one: `concurrency` of them at a time, each `times` times. */
export interface ResumeJob extends Aimed {
  readonly kind: 'resume'
  readonly users: readonly string[]
  readonly warmTimes: number
  readonly times: number
  readonly concurrency: number
  /** Log in with a token and resume in one message. */
  readonly atOnce: boolean
}

/** An hour of a user with a desktop client and a phone, while `contacts` neighbours are online. */
export interface QuietJob extends Aimed {
  readonly kind: 'quiet'
  readonly users: readonly string[]
  readonly contacts: number
  /** The phone is inactive, and has told the server so (XEP-0352). */
  readonly inactive: boolean
}

/** Users who log in and stay silent; the first `warmUsers` of them are not counted. */
export interface MemoryJob extends Aimed {
  readonly kind: 'memory'
  readonly users: readonly string[]
  readonly warmUsers: number
  readonly settleSeconds: number
}

/** Subscribes each user to the presence of its `contacts` neighbours, both ways. Costs are not measured. */
export interface FriendsJob extends Aimed {
  readonly kind: 'friends'
  readonly users: readonly string[]
  readonly contacts: number
}

/** Users with online contacts who change their presence. `window` changes are always in flight. */
export interface PresenceJob extends Aimed {
  readonly kind: 'presence'
  readonly users: readonly string[]
  readonly contacts: number
  readonly window: number
  readonly warmSeconds: number
  readonly seconds: number
}

/**
 * Two users: one writes `messages` messages, the other reads them from the archive, `passes` times, or fewer if that
 * takes longer than `seconds`.
 */
export interface CatchupJob extends Aimed {
  readonly kind: 'catchup'
  readonly users: readonly string[]
  readonly messages: number
  readonly passes: number
  readonly seconds: number
  readonly settleSeconds: number
}

/** Makes a user, the star, and each of the others contacts. Costs are not measured. */
export interface FansJob extends Aimed {
  readonly kind: 'fans'
  readonly star: string
  readonly users: readonly string[]
}

/** The star publishes personal events, and all others want them. `window` publications are always in flight. */
export interface PepJob extends Aimed {
  readonly kind: 'pep'
  readonly star: string
  readonly users: readonly string[]
  readonly window: number
  readonly warmSeconds: number
  readonly seconds: number
}

/** The first user publishes items on a service, or reads 20 items at a time. `window` requests are always in flight. */
export interface NodesJob extends Aimed {
  readonly kind: 'publish' | 'retrieve'
  readonly service: string
  readonly users: readonly string[]
  readonly window: number
  readonly warmSeconds: number
  readonly seconds: number
}

/** All jobs of the load generator. */
export type Job =
  | MessagesJob | LoginsJob | ResumeJob | QuietJob | MemoryJob | FriendsJob | PresenceJob | CatchupJob | FansJob
  | PepJob | NodesJob

/**
 * The outcome of a job. `count` is the number of messages, logins, resumptions, wake-ups, sessions, subscriptions,
 * deliveries, archived messages, notifications or requests, depending on the job.
 */
export interface Outcome {
  readonly count: number
  /** CPU seconds that the servers used. */
  readonly cpu: number
  /** Seconds that passed. */
  readonly wall: number
  /** CPU seconds that the load generator itself used. */
  readonly own: number
  /** For `memory`, the bytes that the server grew by; for `quiet`, the bytes that the phone received; else 0. */
  readonly bytes: number
}

/** The reply of the load generator: an outcome, or the reason why there is none. */
export type Reply = { readonly outcome: Outcome } | { readonly failure: string }

/** True if a value from the load generator is a reply. */
export function isReply (value: unknown): value is Reply {
  return typeof value === 'object' && value !== null && ('outcome' in value || 'failure' in value)
}

/** True if a value from the bench is a job. */
export function isJob (value: unknown): value is Job {
  return typeof value === 'object' && value !== null && 'kind' in value && 'target' in value
}
