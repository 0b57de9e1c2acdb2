/** SASL for clients (RFC 6120 §6): the dialogue in XML. The mechanisms themselves stand in lib/auth. */
import { strictBase64 } from '../auth/base64.js'
import { channelBindings, type ChannelBinding } from '../auth/binding.js'
import { offered, start, type Advertised, type MechanismContext, type SaslDialogue, type SaslFailure, type SaslStep } from '../auth/mechanisms.js'
import type { Host } from '../host/host.js'
import { StreamOver, type Negotiation, type Outcome, type StreamFeature } from '../stream/negotiation.js'
import { attributeOf, localName, namespaceOf, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StreamError } from '../xmpp/errors.js'
import type { ClientWorld } from './settings.js'

type SaslWorld = Pick<ClientWorld, 'authentication' | 'ids' | 'log' | 'throttle'>
type SaslHost = Pick<Host, 'accounts'>
type Decided = Exclude<SaslStep, { readonly kind: 'challenge' }>

/** No name of a mechanism is longer (RFC 4422 §3.1). */
const LONGEST_NAME = 20
/** A stranger chooses it, and it goes into the log. */
const LONGEST_LOGGED = 256

/** The login of one stream: failed attempts are counted in it. Two features, for XEP-0440's stands beside the mechanisms. */
export class SaslLogin {
  readonly #world: SaslWorld
  readonly #host: () => SaslHost | undefined
  #failures = 0
  #advertised: Advertised = { mechanisms: [], bindings: undefined }
  #bindings: readonly ChannelBinding[] | undefined

  constructor (world: SaslWorld, host: () => SaslHost | undefined) {
    this.#world = world
    this.#host = host
  }

  readonly mechanisms: StreamFeature<never> = {
    namespace: NS.SASL,
    offered: stream => {
      // RFC 6120 §6.3.8: once is enough; §13.8: not in the clear
      if (!stream.secure || stream.identity !== undefined) return undefined
      const names = offered(this.#context(stream))
      const bindings = this.#bindingsOf(stream)
      this.#advertised = { mechanisms: names, bindings: typesOf(bindings) }
      return names.length === 0 ? undefined : xml('mechanisms', { xmlns: NS.SASL }, ...names.map(name => xml('mechanism', {}, name)))
    },
    take: (stream, request) => this.#login(stream, request),
  }

  /** XEP-0440: what this connection can be bound to. */
  readonly channelBinding: StreamFeature<never> = {
    namespace: NS.SASL_CHANNEL_BINDING,
    offered: stream => {
      if (!stream.secure || stream.identity !== undefined) return undefined
      const types = typesOf(this.#bindingsOf(stream))
      if (types === undefined) return undefined
      return xml('sasl-channel-binding', { xmlns: NS.SASL_CHANNEL_BINDING }, ...types.map(type => xml('channel-binding', { type })))
    },
  }

  async #login (stream: Negotiation, request: Element): Promise<Outcome<never>> {
    // RFC 6120 §6.4.1: an attempt begins with <auth/>; whatever else there is belongs into one.
    if (localName(request) !== 'auth') return this.#fail(stream, '', { kind: 'failure', condition: 'malformed-request', reason: 'no attempt is going on' })
    const mechanism = attributeOf(request, 'mechanism') ?? ''
    const decided = await this.#converse(stream, start(mechanism, this.#context(stream), this.#advertised), request)
    if (stream.isOver) throw new StreamOver()
    if (decided.kind === 'failure') return this.#fail(stream, mechanism, decided)
    const account = decided.account.bare
    this.#world.throttle.succeeded(account.toString(), stream.address)
    this.#world.log.info('login', { account: account.toString(), address: stream.address, mechanism })
    stream.send(xml('success', { xmlns: NS.SASL }, decided.data === undefined ? undefined : encoded(decided.data)))
    return { go: 'restart', identity: account }
  }

  /** Step by step until it is decided. */
  async #converse (stream: Negotiation, dialogue: SaslDialogue, request: Element): Promise<Decided> {
    let message = request
    for (;;) {
      const data = decoded(message)
      if (data === 'wrong') return { kind: 'failure', condition: 'incorrect-encoding', reason: 'not base64' } // RFC 6120 §6.5.5
      const step = await dialogue.step(data)
      if (step.kind !== 'challenge') return step
      stream.send(xml('challenge', { xmlns: NS.SASL }, encoded(step.data)))
      message = await stream.next()
      const fault = faultOf(message)
      if (fault !== undefined) return fault
    }
  }

  /** RFC 6120 §6.4.5, §6.5: the client may try again, a few times. */
  #fail (stream: Negotiation, mechanism: string, failure: SaslFailure): Outcome<never> {
    const { log, throttle, authentication } = this.#world
    const account = failure.who === undefined ? undefined : `${failure.who}@${stream.domain}`.slice(0, LONGEST_LOGGED)
    if (account !== undefined && failure.condition === 'not-authorized') throttle.failed(account, stream.address)
    stream.send(xml('failure', { xmlns: NS.SASL }, xml(failure.condition)))
    if (failure.condition === 'aborted') return { go: 'continue' }
    // One line, with the address: what fail2ban reads.
    log.warn('login failed', { address: stream.address, account, mechanism: mechanism.slice(0, LONGEST_NAME), reason: failure.condition })
    if (failure.error !== undefined) log.error('login impossible', { error: failure.error })
    if (++this.#failures >= authentication.attempts) throw new StreamError('policy-violation', 'too many failed logins')
    return { go: 'continue' }
  }

  #context (stream: Negotiation): MechanismContext {
    const host = this.#host()
    if (host === undefined) throw new Error('a login without a host')
    return {
      accounts: host.accounts,
      ids: this.#world.ids,
      secure: stream.tls !== undefined, // PLAIN is for TLS alone, whatever the listener does without
      bindings: this.#bindingsOf(stream),
      certificate: stream.tls?.authorized === true ? stream.tls.peerCertificates[0] : undefined,
      allowed: this.#world.authentication.mechanisms,
      admit: local => {
        const wait = this.#world.throttle.delayFor(`${local}@${stream.domain}`.slice(0, LONGEST_LOGGED), stream.address)
        return wait > 0 ? stream.wait(wait) : undefined
      },
    }
  }

  #bindingsOf ({ tls }: Negotiation): readonly ChannelBinding[] {
    return tls === undefined ? [] : this.#bindings ??= channelBindings(tls)
  }
}

/** Those that clients are told of; undefined for none. */
function typesOf (bindings: readonly ChannelBinding[]): readonly string[] | undefined {
  const types = bindings.filter(binding => binding.announced).map(({ type }) => type)
  return types.length === 0 ? undefined : types
}

/** Within an attempt: RFC 6120 §6.4.3 knows a response, §6.4.4 the end of it. */
function faultOf (message: Element): SaslFailure | undefined {
  const name = localName(message)
  if (namespaceOf(message) !== NS.SASL) throw new StreamError('policy-violation', 'a login is going on')
  if (name === 'abort') return { kind: 'failure', condition: 'aborted', reason: 'the client gave up' }
  return name === 'response' ? undefined : { kind: 'failure', condition: 'malformed-request', reason: 'a response was due' }
}

/** RFC 6120 §6.4.2: nothing in `<auth/>` is no data, '=' is empty data. */
function decoded (message: Element): Uint8Array | undefined | 'wrong' {
  const text = textOf(message)
  if (text === '') return localName(message) === 'auth' ? undefined : new Uint8Array(0)
  return text === '=' ? new Uint8Array(0) : strictBase64(text) ?? 'wrong'
}

/** Nothing at all where there is no data: '=' is for what the client sends (RFC 6120 §6.4.2), and would be read as bad base64 by some. */
function encoded (data: Uint8Array): string {
  return Buffer.from(data).toString('base64')
}
