/** Bind 2 (XEP-0386): the session is bound within the login, and what it is to have is turned on at once. */
import { randomBytes } from 'node:crypto'
import { keyOf } from '../auth/clients.js'
import type { Host } from '../host/host.js'
import type { Connection, Session } from '../host/session.js'
import { boundInline, clientOf } from '../host/slots.js'
import { StreamOver, type InlineContext, type InlineFeature, type InlineResult, type Negotiation } from '../stream/negotiation.js'
import { child, childElements, namespaceOf, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { flatten, shortened } from '../xml/writer.js'
import { StanzaError, StreamError } from '../xmpp/errors.js'
import { jidOf, JidError, type Jid } from '../xmpp/jid.js'

export type Bind2Host = Pick<Host, 'accounts' | 'bind' | 'inline' | 'sessions'>

/** Characters of a client's tag that go into its resource. */
const LONGEST_TAG = 128
const ID_LENGTH = 12

/** Binds the sessions of `connection` at the host of its stream. */
export function bind2 (connection: Connection, host: () => Bind2Host | undefined): InlineFeature<Session> {
  return {
    at: 'authenticate',
    namespace: NS.BIND2,

    offered: stream => xml('bind', { xmlns: NS.BIND2 }, xml('inline', {}, ...within(host(), stream).map(([, element]) => element))),

    async take (context, request) {
      const home = host()
      if (home === undefined || request === undefined) return undefined
      try {
        return await bound(home, context, request)
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error
        // The XEP has no word for it: the login stands, and the client may bind as RFC 6120 §7 has it.
        return { element: xml('failed', { xmlns: NS.BIND2 }, error.element()) }
      }
    },
  }

  async function bound (home: Bind2Host, context: InlineContext<Session>, request: Element): Promise<InlineResult<Session>> {
    const { account, userAgent, stream } = context
    const client = userAgent.id === undefined ? '' : keyOf(userAgent.id)
    // §3.2: earlier sessions of the same client have ended, whether it knows or not.
    for (const earlier of client === '' ? [] : home.sessions.of(account)) {
      if (earlier.get(clientOf) === client) earlier.close(new StreamError('conflict', 'the same client is here again'))
    }
    const session = await home.bind(account, resourceFor(home, account, tagIn(request), userAgent.id), connection)
    session.put(clientOf, client)
    session.put(boundInline, true)
    try {
      const answers = await turnOn(home, { ...context, session }, request)
      if (stream.isOver) throw new StreamOver()
      return { session, element: xml('bound', { xmlns: NS.BIND2 }, ...answers) }
    } catch (error) {
      // Closed, not left to wait: its device does not know of it, nor by what it could be resumed.
      if (stream.isOver) session.close(new StreamOver())
      else session.close(new StreamError('internal-server-error'))
      throw error
    }
  }
}

/** What may be turned on with it, each with what is offered. */
function within (host: Bind2Host | undefined, stream: Negotiation): readonly (readonly [InlineFeature<Session>, Element])[] {
  return (host?.inline ?? []).filter(({ at }) => at === 'bind').flatMap(feature => {
    const element = feature.offered(stream)
    return element === undefined ? [] : [[feature, element] as const]
  })
}

async function turnOn (host: Bind2Host, context: InlineContext<Session>, request: Element): Promise<readonly Element[]> {
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
 * §3.2.1: the tag of the client, and behind it what the server adds: the same each time for the same client and tag, so that it keeps
 * its address; nothing in it tells the client's own id.
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
