/** XEP-0060 Publish-Subscribe as a service of its own, at a domain such as pubsub.example.org. */
import {
  accountLeaving, adHocCommands, apart, APPROVAL, approve, archiveForm, AUTHORIZATION, defineModule, discovery,
  formIn, isMessage, isPresence, itemShape, ItemStore, NodeForm, nodeShape, NS, parseJid, pendingCommand, People,
  peopleShape, PubSubEngine, pubsubFeatures, queryArchive, readForm, SERVICE_DEFAULTS, setting, subscriptionShape,
  Trees,
} from '../../lib/api.js'
import type { Addressed, ModuleHost, PubSubPlace } from '../../lib/api.js'
import { moveNodes } from './moving.js'
import { PresentDevices } from './present-devices.js'

/** The most subscriptions and affiliations of one node. */
const SUBSCRIPTIONS = 10_000
const AFFILIATIONS = 10_000
/** The most nodes that the service makes beside others: one for each item with attachments. */
const MANAGED_NODES = 5_000
/** The most of them beside the nodes of one user. */
const MANAGED_OF_ONE = 1_000
/** The most bytes of a payload; the listener's limit of a stanza is smaller by default. */
const PAYLOAD = 1024 * 1024

/** A service at a domain makes nodes by requests alone, and knows no rosters. */
const FEATURES = { creates: false, hides: false, collections: true } as const

export default defineModule({
  name: 'pubsub',
  about: 'Serves publish-subscribe nodes at a domain of its own.',
  at: 'services',
  xeps: [
    '0060 v1.30.0', '0131 v1.2', '0248 v0.5.0', '0442 v0.2.0', '0460 v0.1.0', '0462 v0.1.1', '0465 v0.1.1',
    '0470 v0.2.0',
  ],
  features: { host: [...pubsubFeatures(['collections', 'multi-collections']), NS.MAM] },
  requires: ['disco'],
  after: ['ad-hoc-commands'],
  settings: {
    creators: setting.choice('admins', 'local', 'anybody').default('local').says('Who may make nodes: the administrators of the service, all users of this server, or anybody.'),
    hideClosed: setting.flag().default(false).says('Whether a node that is open to a list of members alone counts as missing for all others.'),
    nodes: setting.count({ min: 1, max: 100_000 }).default(1000).says('The most nodes of the service.'),
    nodesPerUser: setting.count({ min: 1, max: 100_000 }).default(50).says('The most nodes that a user may have made, administrators excepted.'),
    nodeBytes: setting.size({ min: '64KiB', max: '1GiB' }).default('32MiB').says('The most bytes of all nodes with their subscriptions and affiliations, which are in memory.'),
    itemsPerNode: setting.count({ min: 1, max: 10_000_000 }).default(10_000).says('The most items of a node, also of one whose owner has asked for the maximum. The oldest are removed first.'),
    bytes: setting.size({ min: '1MiB', max: '1TiB' }).default('1GiB').says('The most bytes of all items.'),
  },
  stores: { nodes: nodeShape, subscriptions: subscriptionShape, items: itemShape, people: peopleShape },

  setup (host) {
    const { settings, stores } = host
    const present = new PresentDevices()
    const place: PubSubPlace = {
      form: new NodeForm(['open', 'authorize', 'whitelist'], PAYLOAD, { collections: true }),
      defaultsOf: () => SERVICE_DEFAULTS,
      limits: {
        nodes: settings.nodes, nodesPerCreator: settings.nodesPerUser, nodeBytes: settings.nodeBytes,
        itemsPerNode: settings.itemsPerNode, items: Infinity, bytes: settings.bytes,
        subscriptions: SUBSCRIPTIONS, affiliations: AFFILIATIONS, managedNodes: MANAGED_NODES,
        managedOf: creator => host.admins.includes(creator) ? MANAGED_NODES : MANAGED_OF_ONE,
      },
      ...FEATURES,
      hearsOf: device => present.has(device),
      hidesClosed: settings.hideClosed,
      standing: (_, { bare }) => ({ isOwner: host.admins.includes(bare.toString()), seesPresence: false, groups: [] }),
      mayCreate: ({ jid, standing }) => standing.isOwner || settings.creators === 'anybody' ||
        settings.creators === 'local' && host.router.serves(jid.domain),
    }
    const engine = new PubSubEngine({
      home: {
        ids: host.ids,
        now: () => host.clock.now(),
        batch: () => host.batch(),
        route: stanza => { host.router.route(stanza) },
        each: (items, work) => host.router.each(items, work),
        failed: error => { host.log.warn('notifications not sent', { error }) },
      },
      place,
      trees: new Trees({
        nodes: stores.nodes, subscriptions: stores.subscriptions, items: new ItemStore(stores.items),
        people: new People(stores.people, host.domain), collections: true,
      }),
    })
    answerRequests(host, engine)
    answerDisco(host, engine)
    moveNodes(host, { engine, service: parseJid(host.domain), form: place.form })
    host.on(accountLeaving, ({ account, batch }) => engine.forget(account, batch), 'record')
    host.serve(message => takeMessage(host, engine, present, message))
  },
})

function answerRequests (host: ModuleHost, engine: PubSubEngine): void {
  for (const namespace of [NS.PUBSUB, NS.PUBSUB_OWNER]) {
    host.iq.get('host', namespace, 'pubsub', request => engine.answer(request))
    host.iq.set('host', namespace, 'pubsub', request => engine.answer(request))
  }
  host.iq.get('host', NS.MAM, 'query', () => archiveForm())
  host.iq.set('host', NS.MAM, 'query', request => queryArchive(engine, from => host.outlet(from), request))
}

/** Shows the service and its nodes (XEP-0060 §5). */
function answerDisco (host: ModuleHost, engine: PubSubEngine): void {
  host.whileUp(() => {
    const disco = host.use(discovery)
    const added = [
      disco.identity({ category: 'pubsub', type: 'service', name: 'Publish-Subscribe' }),
      disco.node('host', async (node, { stanza: { from, to } }) => await engine.disco(to, node, await engine.asker(to, from))),
      disco.items('host', async ({ stanza: { from, to }, payload }) => await engine.list(to, await engine.asker(to, from), payload)),
    ]
    return () => { for (const remove of added) remove() }
  })
  offerPending(host, engine)
}

/** Lets owners ask for waiting subscriptions (XEP-0060 §8.7), if the host has commands. */
function offerPending (host: ModuleHost, engine: PubSubEngine): void {
  host.whileUp(() => {
    const commands = host.find(adHocCommands)
    if (commands === undefined) return () => {}
    const command = pendingCommand(engine)
    const added = [commands.declare(command), host.use(discovery).feature('host', () => [command.node])]
    return () => { for (const remove of added) remove() }
  })
}

/** Takes what is addressed to the service itself. Other messages are refused as usual. */
async function takeMessage (
  host: ModuleHost, engine: PubSubEngine, present: PresentDevices, message: Addressed,
): Promise<'handled' | undefined> {
  if (isPresence(message) && message.to.local === '') {
    if (message.type === 'available') present.came(message.from)
    if (message.type !== 'unavailable') return undefined
    present.left(message.from)
    await engine.left(message.to, message.from)
    return undefined
  }
  if (!isMessage(message)) return undefined
  if (message.type !== 'error') return await takeApproval(host, engine, message)
  if (await engine.isBounce(message)) await apart(host, async batch => { await engine.bounced(message, batch) })
  return 'handled'
}

/** XEP-0060 §8.6: takes the answer of an owner to a request for a subscription. */
async function takeApproval (host: ModuleHost, engine: PubSubEngine, message: Addressed): Promise<'handled' | undefined> {
  const form = formIn(message.element)
  if (form === undefined || message.to.local !== '') return undefined
  const raw = readForm(form)
  if (raw.formType !== NS.PUBSUB_SUBSCRIBE_AUTHORIZATION) return undefined
  if (raw.type !== 'submit') return 'handled'
  const answers = AUTHORIZATION.read(form)
  const node = answers.get(APPROVAL.node)
  const jid = answers.get(APPROVAL.subscriber)
  if (node === undefined || jid === undefined) return 'handled'
  const asker = await engine.asker(message.to, message.from)
  await apart(host, async batch => {
    await engine.change({ service: message.to, asker, batch }, work => {
      approve(work, node, jid, answers.get(APPROVAL.allow) === true)
    })
  })
  return 'handled'
}
