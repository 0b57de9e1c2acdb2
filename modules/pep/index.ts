/** XEP-0163 Personal Eventing Protocol: each account is a publish-subscribe service (XEP-0060). */
import {
  accountLeaving, accountRemoved, AUTHORIZATION, APPROVAL, approve, defineModule, discovery, formIn, itemShape,
  ItemStore, mayRead, messageArriving, nodeArchives, NodeForm, nodeShape, NS, People, peopleShape, PEP_DEFAULTS,
  pepChanging, personalEventing, PubSubEngine, queryArchive, readForm, setting, subscriptionShape, Trees,
  unlessUnreadable,
} from '../../lib/api.js'
import type {
  Batch, Jid, Maybe, MessageArriving, ModuleHost, NodeConfig, PersonalEventing, PubSubPlace,
} from '../../lib/api.js'
import { Contacts } from './contacts.js'
import { FEATURES } from './features.js'
import { hostsOf } from './hosts.js'
import { movePep } from './moving.js'
import { interestedDevices, serveOwnDevices } from './own-devices.js'

/** The most subscriptions and affiliations of one node. */
const SUBSCRIPTIONS = 1000
const AFFILIATIONS = 1000
/** The most bytes of all nodes of an account without their items. */
const NODE_BYTES = 1024 * 1024
/** The number of items that are read at a time. */
const PAGE = 500
/** The most nodes that the service makes beside others: one for each item with attachments. */
const MANAGED_NODES = 500
/** The most bytes of a payload; the listener's limit of a stanza is smaller by default. */
const PAYLOAD = 1024 * 1024

export default defineModule({
  name: 'pep',
  about: 'Makes each account a publish-subscribe service: avatars, OMEMO keys, bookmarks, moods.',
  xeps: [
    '0060 v1.30.0', '0131 v1.2', '0163 v1.2.2', '0222 v1.0', '0223 v1.1.1', '0442 v0.2.0', '0460 v0.1.0', '0462 v0.1.1',
    '0465 v0.1.1', '0470 v0.2.0',
  ],
  features: { account: FEATURES },
  requires: ['disco', 'caps', 'roster', 'presence'],
  after: ['blocking'],
  settings: {
    nodes: setting.count({ min: 10, max: 10_000 }).default(200).says('The most nodes of an account: kinds of data that its clients publish.'),
    items: setting.count({ min: 100, max: 1_000_000 }).default(10_000).says('The most items of an account in all nodes together.'),
    itemsPerNode: setting.count({ min: 10, max: 1_000_000 }).default(2000).says('The most items of a node, also of one whose owner has asked for the maximum. The oldest are removed first.'),
    bytes: setting.size({ min: '64KiB', max: '1GiB' }).default('8MiB').says('The most bytes of all items of an account.'),
  },
  stores: { nodes: nodeShape, subscriptions: subscriptionShape, items: itemShape, people: peopleShape },

  setup (host) {
    const { settings, stores } = host
    const contacts = new Contacts(host)
    const trees = new Trees({
      nodes: stores.nodes, subscriptions: stores.subscriptions, items: new ItemStore(stores.items),
      people: new People(stores.people, host.domain),
    })
    const place: PubSubPlace = {
      form: new NodeForm(['open', 'presence', 'roster', 'authorize', 'whitelist'], PAYLOAD),
      defaultsOf,
      limits: {
        ...settings,
        nodeBytes: NODE_BYTES, subscriptions: SUBSCRIPTIONS, affiliations: AFFILIATIONS, managedNodes: MANAGED_NODES,
      },
      creates: true,
      hides: true,
      standing: (account, asker) => contacts.standing(account, asker),
      mayCreate: ({ standing }) => standing.isOwner,
      implicit: (account, node, tell) => contacts.interested(account, node, tell),
      mayTell: (account, to) => contacts.mayTell(account, to),
      changed: work => host.fire(pepChanging, { account: work.service, work }),
    }
    const engine = new PubSubEngine({ home: homeOf(host), place, trees })
    host.provide(personalEventing, personalOf(engine))
    host.provide(nodeArchives, { query: request => queryArchive(engine, from => host.outlet(from), request) })

    for (const namespace of [NS.PUBSUB, NS.PUBSUB_OWNER]) {
      host.iq.get('account', namespace, 'pubsub', request => engine.answer(request))
      host.iq.set('account', namespace, 'pubsub', request => engine.answer(request))
    }
    contacts.serve(engine)
    serveOwnDevices(host)
    shareWithOthers(host, engine, contacts)
    answerDisco(host, engine)
    host.on(messageArriving, event => event.message.type === 'error' ? takeBounce(engine, event) : takeApproval(engine, event), 'screen')
    movePep(host, engine, place.form)
    host.on(accountLeaving, ({ account, batch }) => engine.forget(account, batch), 'record')
    host.on(accountRemoved, event => erase(trees, event), 'record')
  },
})

/** Removes the items of an account, which are stored under other names than the account's. */
function erase (trees: Trees, { account, batch }: { readonly account: Jid, readonly batch: Batch }): Maybe<void> {
  return unlessUnreadable(trees.erase(account.toString(), batch))
}

/** Nodes that are for the account alone, whoever makes them (XEP-0223): bookmarks, read markers. */
const PRIVATE: ReadonlySet<string> = new Set([NS.BOOKMARKS, NS.STORAGE_BOOKMARKS, NS.DISPLAYED])

/** A publication without options must not show private data to contacts (XEP-0223 §5). */
function defaultsOf (node?: string): NodeConfig {
  if (node === undefined || !PRIVATE.has(node)) return PEP_DEFAULTS
  const maxItems = node === NS.STORAGE_BOOKMARKS ? 1 : 'max'
  return { ...PEP_DEFAULTS, accessModel: 'whitelist', maxItems, sendLast: 'never' }
}

/** Returns the nodes of accounts as other modules use them. */
function personalOf (engine: PubSubEngine): PersonalEventing {
  return {
    nodes: account => engine.nodes(account),
    mayRead: async (account, node, asker) => mayRead(node, await engine.asker(account, asker)),
    pages: (account, node) => engine.pages(account, node, PAGE),
    newest: (account, node) => engine.newest(account, node),
    item: (account, node, id) => engine.item(account, node, id),
    change: async (account, batch, run) =>
      await engine.change({ service: account, asker: await engine.asker(account, account), batch }, run),
  }
}

function homeOf (host: ModuleHost): ConstructorParameters<typeof PubSubEngine>[0]['home'] {
  return {
    ids: host.ids,
    now: () => host.clock.now(),
    batch: () => host.batch(),
    route: stanza => { host.router.route(stanza) },
    each: (items, work) => host.router.each(items, work),
    failed: error => { host.log.warn('notifications not sent', { error }) },
  }
}

/** Lets the other hosts of this server ask for the devices and the items of this one. */
function shareWithOthers (host: ModuleHost, engine: PubSubEngine, contacts: Contacts): void {
  host.whileUp(() => {
    const hosts = hostsOf(host)
    hosts.set(host.domain, {
      sendLast: (account, nodes, to) => { void contacts.sendLast(engine, account, nodes, to) },
      interested: (account, node) => interestedDevices(host, host.sessions.of(account), node).map(({ jid }) => jid),
    })
    return () => { hosts.delete(host.domain) }
  })
}

/** Shows the service and its nodes (XEP-0163 §6, XEP-0060 §5). */
function answerDisco (host: ModuleHost, engine: PubSubEngine): void {
  host.whileUp(() => {
    const disco = host.use(discovery)
    const added = [
      disco.identity({ category: 'pubsub', type: 'pep' }, 'account'),
      disco.node('account', async (node, { stanza: { from, to } }) =>
        await engine.disco(to, node, await engine.asker(to, from)), { forStrangers: true }),
      // XEP-0398 §2: the module of vCards converts avatars.
      disco.feature('account', () => host.features('account').includes(NS.VCARD) ? [NS.PEP_VCARD_CONVERSION] : []),
      disco.items('account', async ({ stanza: { from, to }, payload }) => await engine.list(to, await engine.asker(to, from), payload)),
    ]
    return () => { for (const remove of added) remove() }
  })
}

/** XEP-0060 §8.6: takes the answer of an owner to a request for a subscription. */
async function approval (engine: PubSubEngine, { message, account, batch }: MessageArriving): Promise<'handled'> {
  const form = formIn(message.element)
  const answers = form === undefined ? undefined : AUTHORIZATION.read(form)
  const node = answers?.get(APPROVAL.node)
  const jid = answers?.get(APPROVAL.subscriber)
  if (node === undefined || jid === undefined) return 'handled'
  const asker = await engine.asker(account, message.from)
  const isAllowed = answers?.get(APPROVAL.allow) === true
  await engine.change({ service: account, asker, batch }, work => { approve(work, node, jid, isAllowed) })
  return 'handled'
}

/** XEP-0060 §12.4: the subscription of an address that is gone ends. Other errors go their way. */
async function takeBounce (engine: PubSubEngine, { message, batch }: MessageArriving): Promise<'handled' | undefined> {
  if (!await engine.isBounce(message)) return undefined
  await engine.bounced(message, batch)
  return 'handled'
}

function takeApproval (engine: PubSubEngine, event: MessageArriving): Maybe<'handled' | undefined> {
  const { message, account } = event
  const form = message.from.bare.equals(account) ? formIn(message.element) : undefined
  if (form === undefined || message.from.resource === '') return undefined
  const raw = readForm(form)
  if (raw.formType !== NS.PUBSUB_SUBSCRIBE_AUTHORIZATION || raw.type === 'form') return undefined
  // A form that is cancelled changes nothing.
  return raw.type === 'submit' ? approval(engine, event) : 'handled'
}
