/** Export and import of the nodes of an account (XEP-0227, PEP nodes). */
import {
  accountExporting, accountImporting, affiliate, affiliations, apart, attributeOf, children, formIn, has, itemElement,
  jidAt, localName, newItem, NS, PEP_DEFAULTS, publish, StanzaError, xml,
} from '../../lib/api.js'
import type {
  AccountImporting, Element, Jid, ModuleHost, Node, NodeForm, PubSubEngine, Subscription, Work,
} from '../../lib/api.js'

/** The number of items of a node that are read at a time. */
const PAGE = 100

/** Exports nodes with their items, and imports them. */
export function movePep (host: ModuleHost, engine: PubSubEngine, form: NodeForm): void {
  host.on(accountExporting, ({ account, add }) => {
    add(writtenNodes(engine, account, form), xml('pubsub', { xmlns: NS.PUBSUB_OWNER }))
    add(writtenItems(engine, account), xml('pubsub', { xmlns: NS.PUBSUB }))
  })

  host.on(accountImporting, async event => {
    const { within, element } = event
    if (within?.name !== 'pubsub') return undefined
    const name = localName(element)
    const take = within.namespace === NS.PUBSUB_OWNER ? (Object.hasOwn(OWNERS, name) ? OWNERS[name] : undefined)
      : within.namespace === NS.PUBSUB && name === 'items' ? takeItems : undefined
    if (take === undefined) return undefined
    await imported(host, engine, event, async (work, name) => { await take({ work, name, element, form, event }) })
    return 'handled'
  })
}

// ---- Export --------------------------------------------------------------------------------------------------

async function * writtenNodes (engine: PubSubEngine, account: Jid, form: NodeForm): AsyncGenerator<Element> {
  for (const node of (await engine.nodes(account)).values()) {
    yield xml('configure', { node: node.name }, form.show(node.config))
    yield affiliations(node)
    if (node.subscriptions.length > 0) {
      yield xml('subscriptions', { node: node.name },
        ...node.subscriptions.map(writtenSubscription))
    }
  }
}

function writtenSubscription ({ jid, state, subid, isPublic }: Subscription): Element {
  const shown = isPublic === true ? xml('public', { xmlns: NS.PUBLIC_SUBSCRIPTIONS }) : undefined
  return xml('subscription', { jid, subscription: state, subid }, shown)
}

async function * writtenItems (engine: PubSubEngine, account: Jid): AsyncGenerator<Element> {
  for (const node of (await engine.nodes(account)).values()) {
    // A large node is written as several lists, so that not all of its items are in memory.
    for await (const items of engine.pages(account, node, PAGE)) {
      yield xml('items', { node: node.name }, ...items.map(item => itemElement(node, item)))
    }
  }
}

// ---- Import --------------------------------------------------------------------------------------------------

interface Taking {
  readonly work: Work
  readonly name: string
  readonly element: Element
  readonly form: NodeForm
  readonly event: AccountImporting
}
type Take = (taking: Taking) => Promise<void> | void

const OWNERS: Readonly<Record<string, Take>> = {
  configure ({ work, name, element, form }) {
    const filled = formIn(element)
    if (filled === undefined) throw new StanzaError('bad-request', 'a configuration without a form')
    const node = work.change.node(name)
    const config = form.restore(node?.config ?? PEP_DEFAULTS, filled)
    if (node === undefined) work.create(name, config)
    else work.put({ ...node, config })
  },
  async affiliations ({ work, name, element }) {
    nodeIn(work, name)
    await affiliate(work, name, element)
  },
  subscriptions ({ work, name, element }) {
    const node = nodeIn(work, name)
    const known = new Map(node.subscriptions.map(one => [one.jid, one]))
    for (const one of children(element, NS.PUBSUB_OWNER, 'subscription')) {
      const subscription = subscriptionIn(work, one)
      known.set(subscription.jid, subscription)
    }
    if (known.size > work.place.limits.subscriptions) throw new StanzaError('resource-constraint', 'too many subscriptions')
    work.put({ ...node, subscriptions: [...known.values()] })
  },
}

function subscriptionIn ({ ids }: Work, element: Element): Subscription {
  const jid = jidAt(element, 'jid')
  const state = attributeOf(element, 'subscription')
  if (jid === undefined || state !== 'subscribed' && state !== 'pending') {
    throw new StanzaError('bad-request', 'a subscription without an address, or of an unknown state')
  }
  const isPublic = has(element, NS.PUBLIC_SUBSCRIPTIONS, 'public')
  const subid = attributeOf(element, 'subid') ?? ids.next()
  return { jid: jid.toString(), state, subid, deliver: true, ...isPublic ? { isPublic } : {} }
}

async function takeItems ({ work, name, element, event }: Taking): Promise<void> {
  nodeIn(work, name)
  for (const item of children(element, NS.PUBSUB, 'item')) {
    try {
      await publish(work, { node: name, items: [newItem(item)] })
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error
      event.leavesOut(`${name}: the item ${attributeOf(item, 'id') ?? ''} is left out: ${error.message}`)
    }
  }
}

/** Returns the node. One whose configuration has not come yet is closed to others until it comes. */
function nodeIn (work: Work, name: string): Node {
  return work.change.node(name) ??
    work.create(name, { ...PEP_DEFAULTS, accessModel: 'whitelist', maxItems: 'max' })
}

/** Runs an import as a change of its own, of which nobody is told. Rejects with StanzaError. */
async function imported (
  host: ModuleHost, engine: PubSubEngine, { account, element }: AccountImporting,
  run: (work: Work, name: string) => Promise<void>,
): Promise<void> {
  const name = attributeOf(element, 'node')
  if (name === undefined || name === '') throw new StanzaError('bad-request', 'the node is missing')
  await apart(host, async batch => {
    const asker = await engine.asker(account, account)
    await engine.change({ service: account, asker, batch }, async work => {
      await run(work, name)
      work.silence()
    })
  })
}
