/** Bind 2 (XEP-0386): binds the session within the login, and enables the requested features at once. */
import { randomBytes } from 'node:crypto'
import { keyOf } from '../auth/clients.js'
import type { Host } from '../host/host.js'
import type { Connection, Session } from '../host/session.js'
import { boundInline, clientOf } from '../host/slots.js'
import {
  StreamOver, type InlineContext, type InlineFeature, type InlineResult, type Negotiation,
} from '../stream/negotiation.js'
import { child, childElements, namespaceOf, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { flatten, shortened } from '../xml/writer.js'
import { StanzaError, StreamError } from '../xmpp/errors.js'
import { jidOf, JidError, type Jid } from '../xmpp/jid.js'

export type Bind2Host = Pick<Host, 'accounts' | 'bind' | 'inline' | 'sessions'>

/** The most characters of a client's tag in its resource. */
const LONGEST_TAG = 128
const ID_LENGTH = 12

/** Binds sessions to `connection` at the host of its stream. */
export function bind2 (connection: Connection, host: () => Bind2Host | undefined): InlineFeature<Session> {
  return {
    at: 'authenticate',
    namespace: NS.BIND2,

    offered: stream => {
      const elements = within(host(), stream).map(([, element]) => element)
      return xml('bind', { xmlns: NS.BIND2 }, xml('inline', {}, ...elements))
    },

    async take (context, request) {
      const home = host()
      if (home === undefined || request === undefined) return undefined
      try {
        return await bound(home, connection, context, request)
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error
        // The login has succeeded, but the bind has failed. XEP-0386 defines no answer for that; the client may still
        // bind as in RFC 6120 §7.
        return { element: xml('failed', { xmlns: NS.BIND2 }, error.element()) }
      }
    },
  }
}

/** Binds a session to the connection, and enables what the request asks for. Throws StanzaError. */
async function bound (
  home: Bind2Host, connection: Connection, context: InlineContext<Session>, request: Element,
): Promise<InlineResult<Session>> {
  const { account, userAgent, stream } = context
  const client = userAgent.id === undefined ? '' : keyOf(userAgent.id)
  // §3.2: earlier sessions of the same client end, whether the client knows of them or not.
  for (const earlier of client === '' ? [] : home.sessions.of(account)) {
    if (earlier.get(clientOf) !== client) continue
    earlier.close(new StreamError('conflict', 'replaced by a new session of the same client'))
  }
  const session = await home.bind(account, resourceFor(home, account, tagIn(request), userAgent.id), connection)
  session.put(clientOf, client)
  session.put(boundInline, true)
  try {
    const answers = await turnOn(home, { ...context, session }, request)
    if (stream.isOver) throw new StreamOver()
    return { session, element: xml('bound', { xmlns: NS.BIND2 }, ...answers) }
  } catch (error) {
    // Closed, not left to hibernate: the device does not know this session, nor how to resume it.
    if (stream.isOver) session.close(new StreamOver())
    else session.close(new StreamError('internal-server-error'))
    throw error
  }
}

/** The features that can be enabled within the bind request, each with its announcement. */
function within (
  host: Bind2Host | undefined, stream: Negotiation,
): readonly (readonly [InlineFeature<Session>, Element])[] {
  return (host?.inline ?? []).filter(({ at }) => at === 'bind').flatMap(feature => {
    const element = feature.offered(stream)
    return element === undefined ? [] : [[feature, element] as const]
  })
}

async function turnOn (
  host: Bind2Host, context: InlineContext<Session>, request: Element,
): Promise<readonly Element[]> {
  const answers: Element[] = []
  for (const [feature] of within(host, context.stream)) {
    const wanted = childElements(request).find(element => namespaceOf(element) === feature.namespace)
    const result = await feature.take(context, wanted)
    if (result?.element !== undefined) answers.push(result.element)
  }
  return answers
}

function tagIn (request: Element): string {
  const tag = child(request, NS.BIND2, 'tag')
  return tag === undefined ? '' : flatten(shortened(textOf(tag), LONGEST_TAG))
}

/**
 * Makes the resource: the client's tag and an id (§3.2.1). The same client with the same tag always gets the same
 * resource. The client's own id cannot be found from it.
 */
function resourceFor ({ accounts }: Bind2Host, account: Jid, tag: string, agent: string | undefined): string {
  const own = agent === undefined
    ? randomBytes(ID_LENGTH).toString('base64url')
    : accounts.pseudonym(`resource ${account.toString()} ${agent} ${tag}`)
  const id = shortened(own, ID_LENGTH)
  return tag !== '' && isResource(`${tag}/${id}`, account) ? `${tag}/${id}` : id
}

function isResource (text: string, account: Jid): boolean {
  try {
    return jidOf(account.local, account.domain, text).resource !== ''
  } catch (error) {
    if (error instanceof JidError) return false
    throw error
  }
}
