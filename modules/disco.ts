/**
 * XEP-0030 Service Discovery with XEP-0128 forms: answers for the host, for its entities, and for an account to those
 * who may see its presence.
 */
import {
  attributeOf, CAPS_NODE, child, childElements, defineModule, discovery, follow, mayKnow, NS, pagingElement, readForm,
  rosters, StanzaError, xml,
} from '../lib/api.js'
import type {
  DiscoInfo, DiscoItem, DiscoNode, DiscoPage, Element, Identity, Maybe, ModuleHost, Request,
} from '../lib/api.js'

type Place = 'host' | 'account' | 'entity'
/** Answers for nodes; undefined for a node that it does not know. */
type NodeAnswer = (node: string, request: Request) => Maybe<DiscoNode | undefined>

const DISCO = [NS.DISCO_INFO, NS.DISCO_ITEMS]

export default defineModule({
  name: 'disco',
  about: 'Tells clients and servers which features the host and its accounts support.',
  xeps: ['0030 v2.5.0', '0128 v1.0.1'],
  at: 'everywhere',
  features: { host: DISCO, account: DISCO, entity: DISCO },
  after: ['roster'],

  setup (host) {
    const identities: Identity[] = host.isService ? [] : [{ category: 'server', type: 'im', name: 'Sestina' }]
    const forms: (() => Element | undefined)[] = []
    const items: DiscoItem[] = []
    const ofAccounts: Identity[] = [{ category: 'account', type: 'registered' }]
    const more = new Additions()
    const featuresOf = (of: Place, own: readonly string[] = []): Element[] =>
      [...new Set([...host.features(of), ...more.features(of), ...own])].sort().map(featureElement)

    const info = (node?: string): Element => xml('query', { xmlns: NS.DISCO_INFO, node },
      ...(identities.length === 0 ? [UNKNOWN] : identities).map(identityElement),
      ...featuresOf('host'),
      ...merged(forms.flatMap(make => make() ?? [])))

    host.provide(discovery, {
      identity: (identity, of = 'host') => added(of === 'host' ? identities : ofAccounts, identity),
      form: make => added(forms, make),
      item: item => added(items, item),
      feature: (of, make) => added(more.byPlace[of].features, make),
      node: (of, answer, how) => added(more.byPlace[of].nodes, { answer, isForStrangers: how?.forStrangers === true }),
      items: (of, make) => added(more.listing[of], make),
      info,
      get name () { return identities[0]?.name },
    })
    answerForHost(host, info, items, more)
    answerForAccounts(host, featuresOf, more, ofAccounts)
    answerForEntities(host, featuresOf, more)
  },
})

/** Returns the forms, those of one type as one form (XEP-0128 §4, XEP-0485 §9.2). */
function merged (forms: readonly Element[]): readonly Element[] {
  const byType = new Map<string, Element>()
  for (const form of forms) {
    const type = readForm(form).formType ?? String(byType.size)
    const known = byType.get(type)
    const more = childElements(form).filter(one => known === undefined || attributeOf(one, 'var') !== 'FORM_TYPE')
    byType.set(type, xml('x', known?.attrs ?? form.attrs, ...known?.children ?? [], ...more))
  }
  return [...byType.values()]
}

/** XEP-0030 §3.1: each entity has an identity. This is that of a service whose module names none. */
const UNKNOWN: Identity = { category: 'component', type: 'generic' }

/** A list, and the place of its page if it has pages. */
interface Listed { readonly items: readonly DiscoItem[], readonly set: Element | undefined }

interface NodeAnswers { readonly answer: NodeAnswer, readonly isForStrangers: boolean }
interface AtPlace { readonly features: (() => readonly string[])[], readonly nodes: NodeAnswers[] }

/** The nodes that modules answer for, and the features that come and go. */
class Additions {
  readonly byPlace: Readonly<Record<Place, AtPlace>> = {
    host: { features: [], nodes: [] }, account: { features: [], nodes: [] }, entity: { features: [], nodes: [] },
  }

  /** Makes what is listed for whoever asks. */
  readonly listing: Readonly<Record<'host' | 'account', ((request: Request) => Maybe<readonly DiscoItem[] | DiscoPage>)[]>> = {
    host: [], account: [],
  }

  features (of: Place): readonly string[] { return this.byPlace[of].features.flatMap(make => make()) }

  /** Returns the disco#info of a node. Throws item-not-found. */
  info (of: Place, node: string, request: Request, isStranger = false): Maybe<Element> {
    return follow(this.find(of, node, request, isStranger), found => nodeInfo(node, found.info))
  }

  /** Returns the disco#items of a node. Throws item-not-found. */
  items (of: Place, node: string, request: Request): Maybe<Element> {
    return follow(this.find(of, node, request), found => itemsElement(node, found.items))
  }

  /** Returns what is listed for one who asks. */
  listed (of: 'host' | 'account', request: Request, index = 0): Maybe<Listed> {
    const make = this.listing[of][index]
    if (make === undefined) return { items: [], set: undefined }
    return follow(make(request), list => follow(this.listed(of, request, index + 1), more => {
      const { items, page } = 'items' in list ? list : { items: list, page: undefined }
      return { items: [...items, ...more.items], set: page === undefined ? more.set : pagingElement(page) }
    }))
  }

  find (of: Place, node: string, request: Request, isStranger = false): Maybe<DiscoNode> {
    return follow(this.ask(of, node, request, isStranger), found => {
      if (found === undefined) throw new StanzaError('item-not-found')
      return found
    })
  }

  ask (of: Place, node: string, request: Request, isStranger = false, index = 0): Maybe<DiscoNode | undefined> {
    const one = this.byPlace[of].nodes[index]
    if (one === undefined) return undefined
    const found = isStranger && !one.isForStrangers ? undefined : one.answer(node, request)
    return follow(found, found => found ?? this.ask(of, node, request, isStranger, index + 1))
  }
}

/** Answers queries to the domain. */
function answerForHost (
  host: ModuleHost, info: (node?: string) => Element, items: readonly DiscoItem[], more: Additions,
): void {
  host.iq.get('host', NS.DISCO_INFO, 'query', request => {
    const node = nodeOf(request.payload)
    if (node === undefined) return info()
    // XEP-0115 §6.2: a query for the node in the caps gets the same answer.
    return node.startsWith(`${CAPS_NODE}#`) ? info(node) : more.info('host', node, request)
  })

  host.iq.get('host', NS.DISCO_ITEMS, 'query', request => {
    const node = listedNode(host, 'host', request)
    if (node !== undefined) return more.items('host', node, request)
    return follow(more.listed('host', request), listed =>
      itemsElement(undefined, [...host.offeredServices, ...items, ...listed.items], listed.set))
  })
}

/**
 * Answers queries to the bare address of an account, for those who may see its presence. Others learn only of nodes
 * that are open to them.
 */
function answerForAccounts (
  host: ModuleHost, featuresOf: (of: Place) => readonly Element[], more: Additions, identities: readonly Identity[],
): void {
  const mayAsk = ({ stanza: { from, to } }: Request): Maybe<boolean> => mayKnow(from, to, host.find(rosters))

  host.iq.get('account', NS.DISCO_INFO, 'query', request => follow(mayAsk(request), allowed => {
    const node = nodeOf(request.payload)
    if (allowed && node !== undefined) return more.info('account', node, request)
    if (!allowed) return follow(node === undefined ? undefined : more.ask('account', node, request, true), found => {
      // §8: the same error as for an account that does not exist
      if (found === undefined || node === undefined) throw new StanzaError('service-unavailable')
      return nodeInfo(node, found.info)
    })
    return xml('query', { xmlns: NS.DISCO_INFO }, ...identities.map(identityElement), ...featuresOf('account'))
  }))

  host.iq.get('account', NS.DISCO_ITEMS, 'query', request => follow(mayAsk(request), allowed => {
    const { stanza: { from, to }, payload } = request
    const name = attributeOf(payload, 'node')
    // §8: an empty result, also for an account that does not exist, with the node that was queried (§4.1).
    if (!allowed && name !== undefined) {
      return follow(more.ask('account', name, request, true), found => itemsElement(name, found?.items ?? []))
    }
    const node = allowed ? listedNode(host, 'account', request) : undefined
    if (node !== undefined) return more.items('account', node, request)
    // RFC 6120 §8.2.3 allows one answer only: the account itself gets a list of its available resources.
    const devices = from.bare.equals(to) ? host.sessions.of(to).filter(device => device.available) : []
    return follow(more.listed('account', request), ({ items, set }) => itemsElement(undefined, [...devices, ...items], set))
  }))
}

/** Answers queries to the entities of a service: rooms, nodes. Modules that serve all entities are asked first. */
function answerForEntities (
  host: ModuleHost, featuresOf: (of: Place, own?: readonly string[]) => readonly Element[], more: Additions,
): void {
  const nodeFor = (request: Request, node: string | undefined): Maybe<DiscoNode | undefined> =>
    node === undefined ? undefined : more.ask('entity', node, request)

  host.iq.get('entity', NS.DISCO_INFO, 'query', request => {
    const node = nodeOf(request.payload)
    const { entity, stanza: { from } } = request
    return follow(nodeFor(request, node), found => follow(found?.info ?? entity.info(node, from), info => {
      if (info === undefined) throw new StanzaError('item-not-found')
      if (node !== undefined) return nodeInfo(node, info)
      const { identities, features, forms = [] } = info
      return xml('query', { xmlns: NS.DISCO_INFO },
        ...identities.map(identityElement), ...featuresOf('entity', features), ...forms)
    }))
  })

  host.iq.get('entity', NS.DISCO_ITEMS, 'query', request => {
    const node = nodeOf(request.payload)
    const { entity, stanza: { from } } = request
    return follow(nodeFor(request, node), found => follow(found?.items ?? entity.items(node, from), items => {
      if (items === undefined) throw new StanzaError('item-not-found')
      return itemsElement(node, items)
    }))
  })
}

function added<T> (list: T[], one: T): () => void {
  list.push(one)
  return () => { list.splice(list.indexOf(one), 1) }
}

/** `filter`: a child that the query may have besides paging. */
function nodeOf (payload: Element, filter?: Element): string | undefined {
  if (childElements(payload).some(one => one !== filter && one.getName() !== 'set')) throw new StanzaError('bad-request')
  return attributeOf(payload, 'node')
}

/** Returns the node whose items are queried. A filter (XEP-0462) is for services that obey it. */
function listedNode (host: ModuleHost, of: Place, { payload }: Request): string | undefined {
  return nodeOf(payload, host.features(of).includes(NS.PUBSUB_FILTER) ? child(payload, NS.PUBSUB_FILTER, 'filter') : undefined)
}

function nodeInfo (node: string, { identities, features = [], forms = [] }: DiscoInfo): Element {
  return xml('query', { xmlns: NS.DISCO_INFO, node },
    ...identities.map(identityElement), ...features.map(featureElement), ...forms)
}

function itemsElement (node: string | undefined, items: readonly DiscoItem[], set?: Element): Element {
  return xml('query', { xmlns: NS.DISCO_ITEMS, node }, ...items.map(itemElement), set)
}

function identityElement ({ category, type, name }: Identity): Element {
  return xml('identity', name === undefined ? { category, type } : { category, type, name })
}

function featureElement (feature: string): Element {
  return xml('feature', { var: feature })
}

function itemElement ({ jid, node, name }: DiscoItem): Element {
  return xml('item', { jid: jid.toString(), node, name })
}
