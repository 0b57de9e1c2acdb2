/**
 * SASL2 for clients (XEP-0388): login, tokens (XEP-0484), new keys (XEP-0480), resumption and binding in one round
 * trip.
 */
import { strictBase64 } from '../auth/base64.js'
import { keyOf } from '../auth/clients.js'
import { tokenMechanisms } from '../auth/hashed-token.js'
import type { TokenMechanism } from '../auth/token.js'
import { start } from '../auth/mechanisms.js'
import type { Advertised, SaslFailure } from '../auth/mechanism.js'
import { accessEnded } from '../host/events.js'
import type { Host } from '../host/host.js'
import { Session } from '../host/session.js'
import {
  StreamOver, type InlineContext, type InlineFeature, type Negotiation, type Outcome, type StreamFeature,
} from '../stream/negotiation.js'
import { childElements, localName, namespaceOf, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { authenticateIn, type Authenticate } from './authenticate.js'
import type { Decided, Login } from './login.js'
import type { Authentication } from './settings.js'
import { attemptByToken, fastElement, tokenElement, visit, type TokenAttempt } from './tokens.js'
import { upgradeElements, upgraded } from './upgrades.js'

export type Sasl2Host = Pick<Host, 'accounts' | 'clients' | 'inline' | 'tell'>

/** The dependencies of the login on one stream. */
export interface Sasl2Deps {
  readonly login: Login
  readonly now: () => number
  host (): Sasl2Host | undefined
  authentication (): Authentication
  /** Bind 2 of this stream. It runs last. */
  readonly bind: InlineFeature<Session>
  /** The version of the features that were offered last (XEP-0509). */
  configVersion (): string | undefined
  /** Notes which of the account's clients this is. */
  recognised (key: string): void
  /** Logs an error in storing a login's client. The login itself still succeeds. */
  trouble (error: unknown): void
}

export function sasl2Feature (ground: Sasl2Deps): StreamFeature<Session> {
  let advertised: Advertised = { mechanisms: [], bindings: undefined }
  return {
    namespace: NS.SASL2,

    offered: stream => {
      // XEP-0388 §3: only in TLS.
      if (stream.tls === undefined || !ground.login.isDue(stream)) return undefined
      const mechanisms = ground.login.mechanismsOf(stream)
      advertised = { mechanisms, bindings: ground.login.typesOf(stream) }
      if (mechanisms.length === 0) return undefined
      return xml('authentication', { xmlns: NS.SASL2 },
        ...mechanisms.map(name => xml('mechanism', {}, name)),
        xml('inline', {}, ...inlineElements(ground, stream)),
        ...upgradeElements(ground.authentication().mechanisms))
    },

    take: (stream, request) => new Attempt(ground, advertised, stream, request).run(),
  }
}

function inlineElements (ground: Sasl2Deps, stream: Negotiation): readonly Element[] {
  const fast = ground.authentication().fast ? tokenMechanisms(ground.login.context(stream)) : []
  return [
    ...featuresOf(ground).map(feature => feature.offered(stream)).filter(element => element !== undefined),
    ...fast.length === 0 ? [] : [fastElement(fast)],
  ]
}

/** XEP-0386 §3.2: features that may bring a session of their own run before Bind 2. */
function featuresOf (ground: Sasl2Deps): readonly InlineFeature<Session>[] {
  return [...(ground.host()?.inline ?? []).filter(({ at }) => at === 'authenticate'), ground.bind]
}

/** The result of the inline features. */
interface Rider { readonly session: Session | undefined, readonly answers: readonly Element[] }

class Attempt {
  readonly #ground: Sasl2Deps
  readonly #advertised: Advertised
  readonly #stream: Negotiation
  readonly #request: Element
  readonly #host: Sasl2Host

  constructor (ground: Sasl2Deps, advertised: Advertised, stream: Negotiation, request: Element) {
    const host = ground.host()
    if (host === undefined) throw new Error('a login without a host')
    this.#ground = ground
    this.#advertised = advertised
    this.#stream = stream
    this.#request = request
    this.#host = host
  }

  async run (): Promise<Outcome<Session>> {
    if (localName(this.#request) !== 'authenticate') {
      throw new StreamError('policy-violation', 'no login is in progress')
    }
    const { from, domain } = this.#stream
    if (from !== undefined && from.domain !== domain) throw new StreamError('invalid-from') // XEP-0388 §2.1
    const asked = authenticateIn(this.#request, this.#tokenMechanisms)
    const { configVersion } = asked
    if (configVersion !== undefined && configVersion !== this.#ground.configVersion()) return this.#outdated()
    const { id } = asked.userAgent
    this.#ground.login.device = id === undefined ? '' : keyOf(id)
    const tokens = this.#tokensFor(asked)
    const decided = await this.#decide(asked, tokens)
    this.#checkOpen()
    if (decided.kind === 'failure') return this.#fail(asked.mechanism, decided)
    return await this.#succeed(asked, decided.account.bare, decided.data, tokens)
  }

  /** The mechanisms that a token may be requested for (XEP-0484 §3.2): those that are offered. */
  get #tokenMechanisms (): readonly TokenMechanism[] {
    return this.#ground.authentication().fast ? tokenMechanisms(this.#ground.login.context(this.#stream)) : []
  }

  #tokensFor (asked: Authenticate): TokenAttempt | undefined {
    if (!asked.fast || this.#tokenMechanisms.length === 0) return undefined
    const context = { ...this.#ground.login.context(this.#stream, 'token'), now: this.#ground.now() }
    return attemptByToken(asked, context, this.#host.clients)
  }

  async #decide (asked: Authenticate, tokens: TokenAttempt | undefined): Promise<Decided> {
    if (asked.initial === 'wrong') return ENCODING
    const { login } = this.#ground
    const dialogue = tokens?.dialogue ?? start(asked.mechanism, login.context(this.#stream), this.#advertised)
    const decided = await login.converse(dialogue, asked.initial, challenge => this.#challenge(challenge))
    if (decided.kind === 'failure') return decided
    const { from } = this.#stream
    // XEP-0388 §2.3: a client whose stream header names another account is refused.
    if (from === undefined || from.bare.equals(decided.account.bare)) return decided
    const { local: who } = decided.account
    return { kind: 'failure', condition: 'invalid-authzid', reason: "the stream is 'from' another account", who }
  }

  async #challenge (data: Uint8Array): Promise<Uint8Array | SaslFailure> {
    this.#stream.send(xml('challenge', { xmlns: NS.SASL2 }, Buffer.from(data).toString('base64')))
    const message = await this.#stream.next()
    // §2.4: any other element ends the connection.
    if (namespaceOf(message) !== NS.SASL2) throw new StreamError('policy-violation', 'a login is in progress')
    const name = localName(message)
    if (name === 'abort') return ABORTED
    if (name !== 'response') throw new StreamError('policy-violation', 'expected <response/>')
    return strictBase64(textOf(message).trim()) ?? ENCODING
  }

  async #succeed (
    asked: Authenticate, account: Jid, data: Uint8Array | undefined, tokens: TokenAttempt | undefined,
  ): Promise<Outcome<Session>> {
    const { login } = this.#ground
    const additional = data === undefined ? undefined : xml('additional-data', {}, Buffer.from(data).toString('base64'))
    const upgrade = await upgraded(this.#stream, this.#host.accounts, { account, asked, additional })
    this.#checkOpen()
    if (upgrade.failure !== undefined) return this.#fail(asked.mechanism, upgrade.failure)
    const token = await visit(asked, account, tokens, { ...this.#ground, clients: this.#host.clients })
    if (token !== undefined && 'kind' in token) return this.#fail(asked.mechanism, token)
    if (hasSignedOut(asked, tokens)) this.#host.tell(accessEnded, { account, device: keyOf(asked.userAgent.id ?? '') })
    this.#checkOpen()
    login.succeeded(this.#stream, account, asked.mechanism)
    const { session, answers } = await this.#inline(asked, account)
    // §2.6.1: a bare address, unless there is a session.
    this.#stream.send(xml('success', { xmlns: NS.SASL2 },
      upgrade.told ? undefined : additional,
      xml('authorization-identifier', {}, (session?.jid ?? account).toString()),
      ...answers,
      token === undefined ? undefined : tokenElement(token)))
    return session === undefined ? { go: 'identity', identity: account } : { go: 'session', session, identity: account }
  }

  /**
   * Runs the requested inline features in the order in which they are offered. With a session already there, Bind 2 is
   * skipped.
   */
  async #inline (asked: Authenticate, account: Jid): Promise<Rider> {
    const answers: Element[] = []
    let session: Session | undefined
    for (const feature of featuresOf(this.#ground)) {
      const request = childElements(this.#request).find(element => namespaceOf(element) === feature.namespace)
      if (request === undefined || session !== undefined && feature === this.#ground.bind) continue
      const context: InlineContext<Session> = { stream: this.#stream, account, session, userAgent: asked.userAgent }
      const result = await feature.take(context, request)
      if (result?.element !== undefined) answers.push(result.element)
      session ??= result?.session
    }
    return { session, answers }
  }

  #checkOpen (): void {
    if (this.#stream.isOver) throw new StreamOver()
  }

  #fail (mechanism: string, failure: SaslFailure): Outcome<Session> {
    this.#stream.send(xml('failure', { xmlns: NS.SASL2 }, xml(failure.condition, { xmlns: NS.SASL })))
    this.#ground.login.failed(this.#stream, mechanism, failure)
    return { go: 'continue' }
  }

  /** XEP-0509 §2.2: the client relied on features that have changed. That does not count as a failed login. */
  #outdated (): Outcome<Session> {
    this.#stream.send(xml('failure', { xmlns: NS.SASL2 },
      xml('aborted', { xmlns: NS.SASL }),
      xml('config-version-mismatch', { xmlns: NS.IAP })))
    return { go: 'continue' }
  }
}

/** True if the client gave up the token it came with and requests no other (XEP-0484 §3.6). */
function hasSignedOut (asked: Authenticate, tokens: TokenAttempt | undefined): boolean {
  return asked.invalidate && asked.wants === undefined && tokens?.used() !== undefined
}

/** The failure for bad base64 (RFC 6120 §6.5.5). */
const ENCODING: SaslFailure = { kind: 'failure', condition: 'incorrect-encoding', reason: 'not base64' }
const ABORTED: SaslFailure = { kind: 'failure', condition: 'aborted', reason: 'the client aborted the login' }

/** Returns the element that names a set of features (XEP-0509). */
export function configVersionElement (value: string): Element {
  return xml('config-version', { xmlns: NS.IAP, scheme: 'opaque', value })
}
