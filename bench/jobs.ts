/** What the bench asks of the load generator, and what it answers: plain values, for they cross a process border. */
import type { Target } from './client.js'

/** What every job has: where to, and the processes whose cost is measured. */
interface Aimed { readonly target: Target, readonly pids: readonly number[] }

/** Chat messages between pairs of users, a fixed number of them always on the way. */
export interface MessagesJob extends Aimed {
  readonly kind: 'messages'
  readonly users: readonly string[]
  /** Stanzas are acknowledged both ways (XEP-0198). */
  readonly managed: boolean
  /** Another server, where every second user is at home: each message goes from one server to the other. */
  readonly elsewhere?: Target
  readonly outstanding: number
  readonly warmSeconds: number
  readonly seconds: number
}

/** Users who come and go, `concurrency` of them at a time. */
export interface LoginsJob extends Aimed {
  readonly kind: 'logins'
  readonly users: readonly string[]
  readonly warmLogins: number
  readonly logins: number
  readonly concurrency: number
}

/** Users whose connection is cut and who resume on a new one, `concurrency` of them at a time, each of them `times` times. */
export interface ResumeJob extends Aimed {
  readonly kind: 'resume'
  readonly users: readonly string[]
  readonly warmTimes: number
  readonly times: number
  readonly concurrency: number
  /** All in one message, by a token. */
  readonly atOnce: boolean
}

/** An hour of a user with a phone, whose first `contacts` neighbours are online. */
export interface QuietJob extends Aimed {
  readonly kind: 'quiet'
  readonly users: readonly string[]
  readonly contacts: number
  /** Nobody looks at the phone, and it says so (XEP-0352). */
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

/** Users with contacts online who change their presence, `window` changes always on the way. */
export interface PresenceJob extends Aimed {
  readonly kind: 'presence'
  readonly users: readonly string[]
  readonly contacts: number
  readonly window: number
  readonly warmSeconds: number
  readonly seconds: number
}

/** Two users, one of whom writes so many messages, and the other takes them from the archive, `passes` times. */
export interface CatchupJob extends Aimed {
  readonly kind: 'catchup'
  readonly users: readonly string[]
  readonly messages: number
  readonly passes: number
  readonly settleSeconds: number
}

/** What the load generator can be asked. */
export type Job = MessagesJob | LoginsJob | ResumeJob | QuietJob | MemoryJob | FriendsJob | PresenceJob | CatchupJob

/** What came of a job. `count`: messages, logins, resumptions, wake-ups, sessions, subscriptions, deliveries or messages of the archive. */
export interface Outcome {
  readonly count: number
  /** CPU seconds of the servers meanwhile. */
  readonly cpu: number
  /** Seconds that passed meanwhile. */
  readonly wall: number
  /** CPU seconds of the load generator itself meanwhile. */
  readonly own: number
  /** By how many bytes the server grew, where memory was asked for; how many came to the phone. */
  readonly bytes: number
}

/** What the load generator sends back: an outcome, or why there is none. */
export type Reply = { readonly outcome: Outcome } | { readonly failure: string }

/** Whether an unknown value from the load generator is a reply. */
export function isReply (value: unknown): value is Reply {
  return typeof value === 'object' && value !== null && ('outcome' in value || 'failure' in value)
}

/** Whether an unknown value from the bench is a job. */
export function isJob (value: unknown): value is Job {
  return typeof value === 'object' && value !== null && 'kind' in value && 'target' in value
}
