/** The login of one stream, whatever profile of SASL it comes in: what is offered, and what an attempt's end means. */
import { channelBindings, type ChannelBinding } from '../auth/binding.js'
import { offered, type MechanismContext, type SaslDialogue, type SaslFailure, type SaslStep } from '../auth/mechanisms.js'
import { shortened } from '../base/text.js'
import type { Attempt, Tried } from '../auth/throttle.js'
import type { Host } from '../host/host.js'
import { StreamOver, type Negotiation, type StreamFeature } from '../stream/negotiation.js'
import { xml } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import type { ClientWorld } from './settings.js'

export type LoginWorld = Pick<ClientWorld, 'authentication' | 'ids' | 'log' | 'throttle'>
export type LoginHost = Pick<Host, 'accounts' | 'logins'>
/** How an attempt ends. */
export type Decided = Exclude<SaslStep, { readonly kind: 'challenge' }>
/** How a profile carries a challenge: it answers with the client's next message, or with what is wrong with that. */
export type Exchange = (challenge: Uint8Array) => Promise<Uint8Array | SaslFailure>

/** No name of a mechanism is longer (RFC 4422 §3.1). */
const LONGEST_NAME = 20
/** A stranger chooses it, and it goes into the log. */
const LONGEST_LOGGED = 256

/** Failed attempts are counted here, in both profiles together. */
export class Login {
  readonly #world: LoginWorld
  readonly #host: () => LoginHost | undefined
  readonly #end: (reason: StreamError) => void
  /** What the client says it is, as `keyOf` names it: set before an attempt. */
  device = ''
  /** Forgets the login that is under way. */
  #underWay: (() => void) | undefined
  #failures = 0
  /** Gives back the place of the attempt that is under way. */
  #decided: (() => void) | undefined
  #bindings: readonly ChannelBinding[] | undefined

  /** `end` ends the stream. */
  constructor (world: LoginWorld, host: () => LoginHost | undefined, end: (reason: StreamError) => void) {
    this.#world = world
    this.#host = host
    this.#end = end
  }

  /** XEP-0440: what this connection can be bound to. */
  readonly channelBinding: StreamFeature<never> = {
    namespace: NS.SASL_CHANNEL_BINDING,
    offered: stream => {
      if (!this.isDue(stream)) return undefined
      const types = this.typesOf(stream)
      if (types === undefined) return undefined
      return xml('sasl-channel-binding', { xmlns: NS.SASL_CHANNEL_BINDING }, ...types.map(type => xml('channel-binding', { type })))
    },
  }

  /** RFC 6120 §6.3.8: once is enough; §13.8: not in the clear. */
  isDue (stream: Negotiation): boolean {
    return stream.secure && stream.identity === undefined
  }

  mechanismsOf (stream: Negotiation): readonly string[] { return offered(this.context(stream)) }

  /** The bindings that clients are told of; undefined for none. */
  typesOf (stream: Negotiation): readonly string[] | undefined {
    const types = this.#bindingsOf(stream).filter(binding => binding.announced).map(({ type }) => type)
    return types.length === 0 ? undefined : types
  }

  /** `by`: a token cannot be guessed, and whoever comes with one waits for nobody. */
  context (stream: Negotiation, by: 'password' | 'token' = 'password'): MechanismContext {
    return {
      accounts: this.#home.accounts,
      ids: this.#world.ids,
      secure: stream.tls !== undefined, // PLAIN is for TLS alone, whatever the listener does without
      bindings: this.#bindingsOf(stream),
      certificate: stream.tls?.authorized === true ? stream.tls.peerCertificates[0] : undefined,
      allowed: this.#world.authentication.mechanisms,
      admit: account => by === 'token' ? this.#begin(account) : this.#admit(stream, account),
      trouble: error => { this.#world.log.warn('keys not stored', { error }) },
    }
  }

  /** Step by step until it is decided. */
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

  /** Who has waited looks again: others may have failed meanwhile. */
  #enter (stream: Negotiation, account: Jid, attempt: Attempt): void | Promise<void> {
    if (stream.isOver) throw new StreamOver()
    const wait = attempt.delay()
    if (wait > 0) return stream.wait(wait).then(() => this.#enter(stream, account, attempt))
    attempt.begin()
    this.#begin(account)
  }

  #tried (account: string, { address }: Negotiation): Tried {
    return { account: shortened(account, LONGEST_LOGGED), address, device: this.device }
  }

  #begin (account: Jid): void {
    this.over()
    this.#underWay = this.#home.logins.begins({ account, device: this.device, end: this.#end })
  }

  /** The stream has a session, or is gone: what ends the account's access does not look for it here any longer. */
  over (): void {
    this.#underWay?.()
    this.#underWay = undefined
  }

  succeeded (stream: Negotiation, account: Jid, mechanism: string): void {
    this.#world.throttle.succeeded(this.#tried(account.toString(), stream))
    this.#world.log.info('login', { account: account.toString(), address: stream.address, mechanism })
  }

  /**
   * RFC 6120 §6.4.5, §6.5: the client may try again, a few times; called when it has been told. An attempt that the client gave up itself
   * is none. Throws StreamError where it is enough.
   */
  failed (stream: Negotiation, mechanism: string, failure: SaslFailure): void {
    const { log, throttle, authentication } = this.#world
    this.over()
    const account = failure.who === undefined ? undefined : shortened(`${failure.who}@${stream.domain}`, LONGEST_LOGGED)
    const isGuess = failure.condition === 'not-authorized' && !mechanism.startsWith('HT-')
    if (account !== undefined && isGuess) throttle.failed(this.#tried(account, stream))
    if (failure.condition === 'aborted') return
    // One line, with the address: what fail2ban reads.
    log.warn('login failed', { address: stream.address, account, mechanism: shortened(mechanism, LONGEST_NAME), reason: failure.condition })
    if (failure.error !== undefined) log.error('login impossible', { error: failure.error })
    if (++this.#failures >= authentication.attempts) throw new StreamError('policy-violation', 'too many failed logins')
  }

  get #home (): LoginHost {
    const host = this.#host()
    if (host === undefined) throw new Error('a login without a host')
    return host
  }

  #bindingsOf ({ tls }: Negotiation): readonly ChannelBinding[] {
    return tls === undefined ? [] : this.#bindings ??= channelBindings(tls)
  }
}
