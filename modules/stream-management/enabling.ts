/** Enables stream management for sessions (XEP-0198 §3). */
import { localName, management, NS, StreamError, xml } from '../../lib/api.js'
import type { Element, ModuleHost, Session } from '../../lib/api.js'
import { ManagedSession } from './managed.js'
import type { ManagedSessions } from './sessions.js'

const { enabled, failed, isTrue, secondsIn } = management
const SECOND = 1000

/** The answer to `<enable/>`, and the managed session if it succeeded. */
interface Enabled { readonly element: Element, readonly managed: ManagedSession | undefined }

/** Enables sessions, which may be resumed within `resume` milliseconds at most. */
export class Enabling {
  readonly #host: ModuleHost
  readonly #sessions: ManagedSessions
  readonly #resume: number
  /** Requests to enable that are not answered yet. */
  readonly #beginning = new Set<Promise<void>>()

  constructor (host: ModuleHost, sessions: ManagedSessions, resume: number) {
    this.#host = host
    this.#sessions = sessions
    this.#resume = resume
  }

  /** Takes `<enable/>` from clients, on a bound stream and inline (XEP-0386). */
  offer (): void {
    this.#host.nonza(NS.SM, 'enable', (request, session) => {
      // §3: only one attempt is allowed.
      if (session.manager !== undefined) throw new StreamError('policy-violation', 'stream management is already enabled')
      const work = this.#begin(session, request).finally(() => { this.#beginning.delete(work) })
      this.#beginning.add(work)
      return work
    })
    this.#host.offerInline({
      at: 'bind',
      namespace: NS.SM,
      offered: () => xml('feature', { var: NS.SM }),
      take: async ({ session }, request) => {
        if (session === undefined || request === undefined || localName(request) !== 'enable') return undefined
        const { element, managed } = await this.#enable(session, request)
        managed?.begin()
        return { element }
      },
    })
  }

  /** Resolves once all requests so far are answered. */
  async settled (): Promise<void> { await Promise.allSettled(this.#beginning) }

  async #begin (session: Session, request: Element): Promise<void> {
    const before = session.input.settled()
    if (before !== undefined) await before // earlier stanzas are not counted, and are settled first
    if (session.connection === 'closed') return
    const { element, managed } = await this.#enable(session, request)
    session.write(element)
    managed?.begin()
  }

  /** Manages a session, and answers once the session is stored. */
  async #enable (session: Session, request: Element): Promise<Enabled> {
    const { writer } = this.#sessions
    const managed = this.#manage(session, request)
    try {
      await writer.store([managed])
    } catch (error) {
      writer.failed(error)
      this.#sessions.exit(managed)
      session.setManager(undefined)
      managed.begin()
      return { element: failed('resource-constraint'), managed: undefined }
    }
    const { id, resumeTimeout: time } = managed
    return { managed, element: enabled(time === 0 ? undefined : { id, time }) }
  }

  /** Puts a session under management: incoming stanzas are counted from now on, outgoing ones wait for `begin`. */
  #manage (session: Session, request: Element): ManagedSession {
    const wanted = secondsIn(request)
    const longest = isTrue(request, 'resume') ? this.#resume : 0
    const resumeTimeout = wanted === undefined ? longest : Math.min(longest, wanted * SECOND)
    const managed = new ManagedSession(this.#sessions, session, { id: this.#host.ids.next(), resumeTimeout })
    session.setManager(managed)
    this.#sessions.enter(managed)
    return managed
  }
}
