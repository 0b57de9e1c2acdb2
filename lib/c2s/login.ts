/** The login of one stream, for both profiles of SASL: what is offered, and how an attempt ends. */
import { channelBindings, type ChannelBinding } from '../auth/channel-binding.js'
import { offered } from '../auth/mechanisms.js'
import type { MechanismContext, SaslDialogue, SaslFailure, SaslStep } from '../auth/mechanism.js'
import { shortened } from '../base/text.js'
import type { Attempt, Attempted } from '../auth/throttle.js'
import type { Host } from '../host/host.js'
import { StreamOver, type Negotiation, type StreamFeature } from '../stream/negotiation.js'
import { xml } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import type { ClientDeps } from './settings.js'

export type LoginDeps = Pick<ClientDeps, 'authentication' | 'ids' | 'log' | 'throttle' | 'unavailable'>
export type LoginHost = Pick<Host, 'accounts' | 'logins'>
/** The end of an attempt. */
export type Decided = Exclude<SaslStep, { readonly kind: 'challenge' }>
/** Sends a challenge in a profile's form. Resolves with the client's next message, or with the failure in it. */
export type Exchange = (challenge: Uint8Array) => Promise<Uint8Array | SaslFailure>

/** The longest name of a mechanism (RFC 4422 §3.1). */
const LONGEST_NAME = 20
/** The most characters of an account in the log: a stranger chooses them. */
const LONGEST_LOGGED = 256

/** Counts failed attempts, of both profiles together. */
export class Login {
  readonly #world: LoginDeps
  readonly #host: () => LoginHost | undefined
  readonly #end: (reason: StreamError) => void
  /** The key of the client that the client names (`keyOf`). Set before an attempt. */
  device = ''
  /** Removes the login in progress from the host's logins. */
  #underWay: (() => void) | undefined
  #failures = 0
  /** Releases the throttle's place of the attempt in progress. */
  #decided: (() => void) | undefined
  #bindings: readonly ChannelBinding[] | undefined

  /** `end` ends the stream. */
  constructor (world: LoginDeps, host: () => LoginHost | undefined, end: (reason: StreamError) => void) {
    this.#world = world
    this.#host = host
    this.#end = end
  }

  /** Announces the channel bindings of this connection (XEP-0440). */
  readonly channelBinding: StreamFeature<never> = {
    namespace: NS.SASL_CHANNEL_BINDING,
    offered: stream => {
      if (!this.isDue(stream)) return undefined
      const types = this.typesOf(stream)
      if (types === undefined) return undefined
      const elements = types.map(type => xml('channel-binding', { type }))
      return xml('sasl-channel-binding', { xmlns: NS.SASL_CHANNEL_BINDING }, ...elements)
    },
  }

  /** True if a login is possible: only once (RFC 6120 §6.3.8), and not in the clear (§13.8). */
  isDue (stream: Negotiation): boolean {
    return stream.secure && stream.identity === undefined
  }

  mechanismsOf (stream: Negotiation): readonly string[] { return offered(this.context(stream)) }

  /** The channel binding types to announce; undefined if there are none. */
  typesOf (stream: Negotiation): readonly string[] | undefined {
    const types = this.#bindingsOf(stream).filter(binding => binding.announced).map(({ type }) => type)
    return types.length === 0 ? undefined : types
  }

  /** Returns the context for mechanisms. `by`: a login by token is never delayed, because a token cannot be guessed. */
  context (stream: Negotiation, by: 'password' | 'token' = 'password'): MechanismContext {
    return {
      accounts: this.#home.accounts,
      ids: this.#world.ids,
      secure: stream.tls !== undefined, // PLAIN needs TLS, even if the listener does not
      bindings: this.#bindingsOf(stream),
      certificate: stream.tls?.authorized === true ? stream.tls.peerCertificates[0] : undefined,
      allowed: this.#world.authentication.mechanisms,
      admit: account => by === 'token' ? this.#begin(account) : this.#admit(stream, account),
      trouble: error => { this.#world.log.warn('keys not stored', { error }) },
    }
  }

  /** Runs the attempt until it has ended. */
  async converse (dialogue: SaslDialogue, first: Uint8Array | undefined, exchange: Exchange): Promise<Decided> {
    let message = first
    try {
      for (;;) {
        const step = await dialogue.step(message)
        if (step.kind !== 'challenge') return step
        const next = await exchange(step.data)
        if (!(next instanceof Uint8Array)) return next
        message = next
      }
    } finally {
      this.#decided?.()
      this.#decided = undefined
    }
  }

  #admit (stream: Negotiation, account: Jid): void | Promise<void> {
    const attempt = this.#world.throttle.attempt(this.#tried(account.toString(), stream))
    this.#decided = () => { attempt.end() }
    return this.#enter(stream, account, attempt)
  }

  /** Begins the attempt after its wait. After a wait it asks again: others may have failed meanwhile. */
  #enter (stream: Negotiation, account: Jid, attempt: Attempt): void | Promise<void> {
    if (stream.isOver) throw new StreamOver()
    const wait = attempt.delay()
    if (wait > 0) return stream.wait(wait).then(() => this.#enter(stream, account, attempt))
    attempt.begin()
    this.#begin(account)
  }

  #tried (account: string, { address }: Negotiation): Attempted {
    return { account: shortened(account, LONGEST_LOGGED), address, device: this.device }
  }

  #begin (account: Jid): void {
    this.over()
    this.#underWay = this.#home.logins.begins({ account, device: this.device, end: this.#end })
  }

  /** Called when the stream has a session or is gone: the login is no longer in progress. */
  over (): void {
    this.#underWay?.()
    this.#underWay = undefined
  }

  succeeded (stream: Negotiation, account: Jid, mechanism: string): void {
    this.#world.throttle.succeeded(this.#tried(account.toString(), stream))
    this.#world.log.info('login succeeded', { account: account.toString(), address: stream.address, mechanism })
  }

  /**
   * Notes a failed attempt, after the client was told (RFC 6120 §6.4.5, §6.5). The client may try a few times; an
   * attempt that it aborted is not counted. Throws StreamError after too many.
   */
  failed (stream: Negotiation, mechanism: string, failure: SaslFailure): void {
    const { log, throttle, authentication, unavailable } = this.#world
    this.over()
    const account = failure.who === undefined ? undefined : shortened(`${failure.who}@${stream.domain}`, LONGEST_LOGGED)
    const isGuess = failure.condition === 'not-authorized' && !mechanism.startsWith('HT-')
    if (account !== undefined && isGuess) throttle.failed(this.#tried(account, stream))
    if (failure.condition === 'aborted') return
    const attempt = { address: stream.address, account, mechanism: shortened(mechanism, LONGEST_NAME) }
    // fail2ban reads the line 'login failed'. A client that the server could not check has done nothing wrong.
    if (failure.condition === 'temporary-auth-failure') unavailable.tell(attempt, failure.reason, failure.error)
    else log.warn('login failed', { ...attempt, reason: failure.condition })
    if (++this.#failures >= authentication.attempts) throw new StreamError('policy-violation', 'too many failed logins')
  }

  get #home (): LoginHost {
    const host = this.#host()
    if (host === undefined) throw new Error('a login without a host')
    return host
  }

  #bindingsOf ({ tls }: Negotiation): readonly ChannelBinding[] {
    return tls === undefined || tls.isUnbound === true ? [] : this.#bindings ??= channelBindings(tls)
  }
}
