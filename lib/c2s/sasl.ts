/** SASL for clients as in RFC 6120 §6: the dialogue in XML. The mechanisms are in lib/auth. */
import { strictBase64 } from '../auth/base64.js'
import { start } from '../auth/mechanisms.js'
import type { Advertised, SaslFailure } from '../auth/mechanism.js'
import { StreamOver, type Negotiation, type Outcome, type StreamFeature } from '../stream/negotiation.js'
import { attributeOf, localName, namespaceOf, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StreamError } from '../xmpp/errors.js'
import type { Login } from './login.js'

export function saslFeature (login: Login): StreamFeature<never> {
  let advertised: Advertised = { mechanisms: [], bindings: undefined }
  return {
    namespace: NS.SASL,
    offered: stream => {
      if (!login.isDue(stream)) return undefined
      const mechanisms = login.mechanismsOf(stream)
      advertised = { mechanisms, bindings: login.typesOf(stream) }
      if (mechanisms.length === 0) return undefined
      return xml('mechanisms', { xmlns: NS.SASL }, ...mechanisms.map(name => xml('mechanism', {}, name)))
    },
    take: (stream, request) => authenticate(login, advertised, stream, request),
  }
}

async function authenticate (
  login: Login, advertised: Advertised, stream: Negotiation, request: Element,
): Promise<Outcome<never>> {
  // RFC 6120 §6.4.1: an attempt begins with <auth/>. All other elements belong inside an attempt.
  if (localName(request) !== 'auth') return fail(login, stream, '', malformed('no login is in progress'))
  const mechanism = attributeOf(request, 'mechanism') ?? ''
  const first = initial(request)
  const exchange = async (challenge: Uint8Array): Promise<Uint8Array | SaslFailure> => {
    stream.send(xml('challenge', { xmlns: NS.SASL }, encoded(challenge)))
    return answerIn(await stream.next())
  }
  const decided = first === 'wrong'
    ? ENCODING
    : await login.converse(start(mechanism, login.context(stream), advertised), first, exchange)
  if (stream.isOver) throw new StreamOver()
  if (decided.kind === 'failure') return fail(login, stream, mechanism, decided)
  const account = decided.account.bare
  login.succeeded(stream, account, mechanism)
  stream.send(xml('success', { xmlns: NS.SASL }, decided.data === undefined ? undefined : encoded(decided.data)))
  return { go: 'restart', identity: account }
}

function fail (login: Login, stream: Negotiation, mechanism: string, failure: SaslFailure): Outcome<never> {
  stream.send(xml('failure', { xmlns: NS.SASL }, xml(failure.condition)))
  login.failed(stream, mechanism, failure)
  return { go: 'continue' }
}

function malformed (reason: string): SaslFailure {
  return { kind: 'failure', condition: 'malformed-request', reason }
}

/** The failure for bad base64 (RFC 6120 §6.5.5). */
const ENCODING: SaslFailure = { kind: 'failure', condition: 'incorrect-encoding', reason: 'not base64' }

/** Reads the initial response. RFC 6120 §6.4.2: an empty `<auth/>` is no data, '=' is empty data. */
function initial (request: Element): Uint8Array | undefined | 'wrong' {
  const text = textOf(request)
  return text === '' ? undefined : decoded(text)
}

/** Reads the client's answer to a challenge: a response (RFC 6120 §6.4.3) or an abort (§6.4.4). */
function answerIn (message: Element): Uint8Array | SaslFailure {
  if (namespaceOf(message) !== NS.SASL) throw new StreamError('policy-violation', 'a login is in progress')
  const name = localName(message)
  if (name === 'abort') return { kind: 'failure', condition: 'aborted', reason: 'the client aborted the login' }
  if (name !== 'response') return malformed('expected <response/>')
  const data = decoded(textOf(message))
  return data === 'wrong' ? ENCODING : data
}

function decoded (text: string): Uint8Array | 'wrong' {
  return text === '' || text === '=' ? new Uint8Array(0) : strictBase64(text) ?? 'wrong'
}

/**
 * Encodes data. Empty data gives an empty text: '=' is only for the client (RFC 6120 §6.4.2), and some clients would
 * reject it.
 */
function encoded (data: Uint8Array): string {
  return Buffer.from(data).toString('base64')
}
