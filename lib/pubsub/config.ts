/** The configuration of a node (XEP-0060 §8.2, §16.4.4): its options, and the form that shows and changes them. */
import { hasForm } from '../storage/shape.js'
import type { Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { flatten } from '../xml/writer.js'
import {
  DataForm, field, FormAnswers, FormError, readForm, type FilledField, type FormField,
} from '../xmpp/form.js'
import { parseJid } from '../xmpp/jid.js'
import { SUGGESTED } from './caching.js'
import { pubsubError, unsupported } from './errors.js'

export type AccessModel = 'open' | 'presence' | 'roster' | 'authorize' | 'whitelist'
export type PublishModel = 'publishers' | 'subscribers' | 'open'
export type AssociationPolicy = 'all' | 'owners' | 'whitelist'

/** The options of a node. Each one is offered in the form, and honoured. */
export interface NodeConfig {
  readonly title: string
  readonly description: string
  /** A language tag. */
  readonly language: string
  /** The semantic type of the payloads, usually their namespace. */
  readonly type: string
  /** The addresses of those who answer questions. */
  readonly contacts: readonly string[]
  readonly accessModel: AccessModel
  readonly rosterGroups: readonly string[]
  readonly publishModel: PublishModel
  /** True if somebody may subscribe. */
  readonly subscribe: boolean
  readonly deliverNotifications: boolean
  readonly deliverPayloads: boolean
  readonly notificationType: 'normal' | 'headline'
  readonly notifyConfig: boolean
  readonly notifyDelete: boolean
  readonly notifyRetract: boolean
  /** True if owners are told of subscriptions. */
  readonly notifySub: boolean
  readonly persistItems: boolean
  readonly maxItems: number | 'max'
  /** The age at which items are removed, in seconds. */
  readonly itemExpire: number | 'max'
  /** The most bytes of a payload. */
  readonly maxPayloadSize: number
  readonly publishNodeFull: 'retract-oldest' | 'discard-oldest' | 'reject'
  readonly sendLast: 'never' | 'on_sub' | 'on_sub_and_presence'
  /** 'publisher': each item names who published it. */
  readonly itemReply: 'none' | 'publisher'
  /** True if clients may suggest the node to users who do not know it (XEP-0460). */
  readonly suggested: boolean
  /** A collection has other nodes in it, and no items (XEP-0248). */
  readonly nodeType: 'leaf' | 'collection'
  /** The names of the collections that the node is in; '' is the root. An empty list means the root alone. */
  readonly collections: readonly string[]
  /** Who may add nodes to a collection. */
  readonly associationPolicy: AssociationPolicy
  /** The bare addresses of those who may, if the policy is a whitelist. */
  readonly associationWhitelist: readonly string[]
  /** The most nodes of a collection. */
  readonly childrenMax: number | 'max'
}

/** The defaults of a node on the address of an account (XEP-0163 §5, and what clients rely on). */
export const PEP_DEFAULTS: NodeConfig = {
  title: '', description: '', language: '', type: '', contacts: [],
  accessModel: 'presence', rosterGroups: [], publishModel: 'publishers', subscribe: true,
  deliverNotifications: true, deliverPayloads: true, notificationType: 'headline',
  notifyConfig: false, notifyDelete: true, notifyRetract: true, notifySub: false,
  persistItems: true, maxItems: 1, itemExpire: 'max', maxPayloadSize: 262_144, publishNodeFull: 'discard-oldest',
  sendLast: 'on_sub_and_presence', itemReply: 'none', suggested: false,
  nodeType: 'leaf', collections: [], associationPolicy: 'owners', associationWhitelist: [], childrenMax: 'max',
}

/** The defaults of a node of a service host (XEP-0060 §4.5: open). */
export const SERVICE_DEFAULTS: NodeConfig = {
  ...PEP_DEFAULTS,
  accessModel: 'open', maxItems: 'max', publishNodeFull: 'retract-oldest', notifyRetract: false, sendLast: 'on_sub',
}

/** The most characters of a text in the configuration, and the most contacts or roster groups. */
const LONGEST = 1024
const MOST = 50
/** The most collections that a node is in. */
export const MOST_COLLECTIONS = 10

/** An option, and its field in a form. */
interface Option {
  readonly name: string
  readonly field: FormField<unknown>
  fill (config: NodeConfig): FilledField
  /** Returns the configuration with the value of the form, if there is one. Throws FormError if it does not fit. */
  change (config: NodeConfig, answers: FormAnswers): NodeConfig
}

function option<K extends keyof NodeConfig> (key: K, one: FormField<NodeConfig[K]>): Option {
  return {
    name: one.name,
    field: one,
    fill: config => one.is(config[key]),
    change: (config, answers) => {
      const value = answers.get(one)
      return value === undefined ? config : { ...config, [key]: value }
    },
  }
}

/** Returns a field with a name of XEP-0060 and a label. */
const named = (name: string, label: string): readonly [string, { readonly label: string }] =>
  [`pubsub#${name}`, { label }]
const flag = (key: FlagKey, name: string, label: string): Option => option(key, field.flag(...named(name, label)))
const text = (key: TextKey, name: string, label: string): Option => option(key, field.text(...named(name, label)))

type TextKey = 'title' | 'description' | 'language' | 'type'
type FlagKey =
  | 'subscribe' | 'deliverNotifications' | 'deliverPayloads' | 'notifyConfig' | 'notifyDelete' | 'notifyRetract'
  | 'notifySub' | 'persistItems'

/** Returns the options that leaves and collections have. */
function commonOptions (models: readonly AccessModel[]): readonly Option[] {
  return [
    text('title', 'title', 'A name for the node'),
    text('description', 'description', 'A description of the node'),
    text('language', 'language', 'The language of the node'),
    text('type', 'type', 'The type of the payloads, usually their namespace'),
    option('contacts', field.texts(...named('contact', 'Addresses for questions'))),
    option('accessModel', field.choice('pubsub#access_model', models, { label: 'Who may subscribe and read items' })),
    ...models.includes('roster')
      ? [option('rosterGroups', field.texts(...named('roster_groups_allowed', 'Roster groups that may subscribe and read items')))]
      : [],
    flag('subscribe', 'subscribe', 'Allow subscriptions'),
    flag('deliverNotifications', 'deliver_notifications', 'Send notifications'),
    flag('notifyConfig', 'notify_config', 'Notify when the configuration changes'),
    flag('notifyDelete', 'notify_delete', 'Notify when the node is deleted'),
    flag('notifySub', 'notify_sub', 'Notify owners of new and ended subscriptions'),
  ]
}

/** Returns the options that only leaves have. */
function leafOptions (mostPayload: number): readonly Option[] {
  const payload = { ...named('max_payload_size', 'The most bytes of a payload')[1], most: mostPayload }
  return [
    option('publishModel', field.choice('pubsub#publish_model', ['publishers', 'subscribers', 'open'], { label: 'Who may publish' })),
    flag('deliverPayloads', 'deliver_payloads', 'Send payloads with notifications'),
    option('notificationType', field.choice('pubsub#notification_type', ['normal', 'headline'], { label: 'The type of notification messages' })),
    flag('notifyRetract', 'notify_retract', 'Notify when items are removed'),
    flag('persistItems', 'persist_items', 'Store items'),
    option('maxItems', field.countOrMax('pubsub#max_items', { label: 'The most items that are stored, or max', least: 1 })),
    option('itemExpire', field.countOrMax('pubsub#item_expire', { label: 'The age at which items are removed, in seconds, or max', least: 1 })),
    option('maxPayloadSize', field.count('pubsub#max_payload_size', payload)),
    option('publishNodeFull', field.choice('pubsub#publish_node_full', ['retract-oldest', 'discard-oldest', 'reject'], { label: 'What happens when the node is full' })),
    option('sendLast', field.choice('pubsub#send_last_published_item', ['never', 'on_sub', 'on_sub_and_presence'], { label: 'When the last item is sent' })),
    option('itemReply', field.choice('pubsub#itemreply', ['none', 'publisher'], { label: 'Whether an item names its publisher' })),
    option('suggested', SUGGESTED),
  ]
}

const LEAF = field.choice('pubsub#node_type', ['leaf'], { label: 'The type of the node' })
const NODE_TYPE = field.choice('pubsub#node_type', ['leaf', 'collection'], { label: 'Whether the node contains items or other nodes' })
const COLLECTION = field.texts('pubsub#collection', { label: 'The collections that the node is in; an empty value is the service itself' })
const CHILDREN = field.texts('pubsub#children', { label: 'The nodes of the collection' })
const POLICY = field.choice('pubsub#children_association_policy', ['owners', 'whitelist', 'all'], { label: 'Who may add nodes to the collection' })
const WHITELIST = field.jids('pubsub#children_association_whitelist', { label: 'Those who may, if there is a whitelist' })

/** The collections of a node. */
const PARENTS: Option = {
  name: COLLECTION.name,
  field: COLLECTION,
  fill: config => COLLECTION.is(parentsOf(config)),
  change: (config, answers) => {
    const named = answers.get(COLLECTION)
    if (named === undefined) return config
    const collections = [...new Set(named.map(flatten))]
    return { ...config, collections: collections.length === 1 && collections[0] === '' ? [] : collections }
  },
}

/** The options that only collections have. XEP-0248 has two names for one policy: owners, and owner. */
const COLLECTION_OPTIONS: readonly Option[] = [
  option('associationPolicy', { ...POLICY, read: values => POLICY.read(values.map(one => one === 'owner' ? 'owners' : one)) }),
  {
    name: WHITELIST.name,
    field: WHITELIST,
    fill: ({ associationWhitelist }) => WHITELIST.is(associationWhitelist.map(parseJid)),
    change: (config, answers) => {
      const named = answers.get(WHITELIST)?.map(jid => jid.bare.toString())
      return named === undefined ? config : { ...config, associationWhitelist: [...new Set(named)] }
    },
  },
  option('childrenMax', field.countOrMax('pubsub#children_max', { label: 'The most nodes of the collection, or max' })),
]

/** The options that name others: collections that are hidden perhaps, groups of contacts, and addresses. */
const UNTOLD: ReadonlySet<string> = new Set([COLLECTION.name, WHITELIST.name, 'pubsub#roster_groups_allowed'])

/** Returns the names of the collections that a node is in. */
export function parentsOf ({ collections }: Pick<NodeConfig, 'collections'>): readonly string[] {
  return collections.length === 0 ? ROOT_ALONE : collections
}

const ROOT_ALONE = ['']

/** True if a node of this configuration stores items. */
export function keepsItems ({ nodeType, persistItems }: NodeConfig): boolean { return nodeType === 'leaf' && persistItems }

/** The form of the nodes of one type: its options, and all fields. */
interface TypeForm { readonly options: readonly Option[], readonly form: DataForm }

/** The configuration form of the nodes of one service. */
export class NodeForm {
  readonly #leaf: TypeForm
  /** The form of collections; undefined if the service has none. */
  readonly #collection: TypeForm | undefined
  readonly #mostPayload: number

  /**
   * `models`: the access models of the service. `mostPayload`: the most bytes that any payload may have. `collections`:
   * whether the service has collections (XEP-0248).
   */
  constructor (models: readonly AccessModel[], mostPayload: number, how: { readonly collections?: boolean } = {}) {
    this.#mostPayload = mostPayload
    const hasCollections = how.collections === true
    const more = hasCollections ? [NODE_TYPE, CHILDREN] : [LEAF]
    const formOf = (options: readonly Option[]): TypeForm =>
      ({ options, form: new DataForm(NS.PUBSUB_NODE_CONFIG, [...options.map(one => one.field), ...more]) })
    const common = [...commonOptions(models), ...hasCollections ? [PARENTS] : []]
    this.#leaf = formOf([...common, ...leafOptions(mostPayload)])
    this.#collection = hasCollections ? formOf([...common, ...COLLECTION_OPTIONS]) : undefined
  }

  /** Returns the form with the configuration as it is. The form is accepted as it was shown. */
  show (config: NodeConfig, children: readonly string[] = []): Element {
    return this.#of(config).form.form(this.#filled(config, children))
  }

  /** Returns the configuration as a result. It does not name the nodes of a collection. */
  result (config: NodeConfig): Element { return this.#of(config).form.result(this.#filled(config)) }

  /** Returns the configuration as subscribers are told of it: without what concerns owners alone. */
  told (config: NodeConfig): Element {
    const { options, form } = this.#of(config)
    return form.result(this.#filled(config, undefined, options.filter(({ name }) => !UNTOLD.has(name))))
  }

  /** Returns the names of the nodes that a submitted form puts into the collection; undefined if it says nothing. */
  children (element: Element): readonly string[] | undefined {
    if (this.#collection === undefined) return undefined
    const named = new FormAnswers(readForm(element)).get(CHILDREN)
    return named === undefined ? undefined : [...new Set(named.filter(name => name !== '').map(flatten))]
  }

  /**
   * Returns the configuration with what a submitted form changes; fields that it does not name stay, and unknown ones
   * are ignored (XEP-0004 §3.1). Throws FormError.
   */
  read (config: NodeConfig, element: Element): NodeConfig {
    return this.#changed(config, answersIn(element, NS.PUBSUB_NODE_CONFIG))
  }

  /** Returns the configuration with what an exported form says, whatever the type of the form. Throws FormError. */
  restore (config: NodeConfig, element: Element): NodeConfig {
    return this.#changed(config, new FormAnswers(readForm(element)))
  }

  /**
   * Returns the default configuration with the values of publish-options (XEP-0060 §7.1.5), for a node that is made.
   * Throws StanzaError for a field that is no option.
   */
  fromOptions (config: NodeConfig, element: Element): NodeConfig {
    return this.#changed(config, this.#preconditions(element))
  }

  /** Throws StanzaError unless the configuration has all values of publish-options, compared by value (§7.1.5). */
  check (config: NodeConfig, element: Element): void {
    const wanted = this.#changed(config, this.#preconditions(element))
    if (wanted.nodeType !== config.nodeType) throw preconditionNotMet(NODE_TYPE.name)
    for (const one of this.#of(config).options) {
      if (!isSame(one.fill(config).values, one.fill(wanted).values)) throw preconditionNotMet(one.name)
    }
  }

  #preconditions (element: Element): FormAnswers {
    const raw = readForm(element)
    const options = [...this.#leaf.options, ...this.#collection?.options ?? []]
    const known = new Set([...options.map(({ name }) => name), NODE_TYPE.name])
    for (const name of raw.fields.keys()) if (!known.has(name)) throw preconditionNotMet(name)
    return answersIn(element, NS.PUBSUB_PUBLISH_OPTIONS)
  }

  #of ({ nodeType }: NodeConfig): TypeForm {
    return nodeType === 'collection' ? this.#collection ?? this.#leaf : this.#leaf
  }

  #filled (config: NodeConfig, children?: readonly string[], options = this.#of(config).options): FilledField[] {
    const shown = { ...config, maxPayloadSize: Math.min(config.maxPayloadSize, this.#mostPayload) }
    const filled = options.map(one => one.fill(shown))
    if (this.#collection === undefined) return [...filled, LEAF.is('leaf')]
    return [...filled, NODE_TYPE.is(config.nodeType), ...children === undefined ? [] : [CHILDREN.is(children)]]
  }

  #changed (config: NodeConfig, answers: FormAnswers): NodeConfig {
    try {
      const nodeType = answers.get(NODE_TYPE) ?? config.nodeType
      // XEP-0248 §7.1.3
      if (nodeType === 'collection' && this.#collection === undefined) throw unsupported('collections')
      const maxPayloadSize = Math.min(config.maxPayloadSize, this.#mostPayload)
      let changed: NodeConfig = { ...config, nodeType, maxPayloadSize }
      for (const one of this.#of(changed).options) changed = one.change(changed, answers)
      checkSizes(changed)
      return changed
    } catch (error) {
      // XEP-0060 §8.1.2
      if (error instanceof FormError && error.field === 'pubsub#access_model') {
        throw pubsubError('not-acceptable', 'unsupported-access-model')
      }
      throw error
    }
  }
}

function answersIn (element: Element, formType: string): FormAnswers {
  const raw = readForm(element)
  if (raw.type !== 'submit') throw new FormError('bad-request', 'the form is not filled in')
  if (raw.formType !== undefined && raw.formType !== formType) throw new FormError('bad-request', `the form is not ${formType}`)
  return new FormAnswers(raw)
}

/** clients-expect §2: clients need the type cancel, the condition conflict and the specific condition. */
function preconditionNotMet (name: string): Error {
  return pubsubError('conflict', 'precondition-not-met', { type: 'cancel', text: name })
}

function checkSizes (config: NodeConfig): void {
  const { title, description, language, type, contacts, rosterGroups } = config
  const texts = [title, description, language, type, ...contacts, ...rosterGroups]
  const isLong = [contacts, rosterGroups, config.associationWhitelist].some(list => list.length > MOST) ||
    config.collections.length > MOST_COLLECTIONS
  if (isLong || texts.some(one => one.length > LONGEST)) {
    throw new FormError('not-acceptable', 'a text is too long, or a list has too many entries')
  }
}

function isSame (some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((value, index) => value === others[index])
}

/** True if a stored value is a configuration. Options that later versions add are taken from the defaults. */
export function isConfig (value: unknown): value is NodeConfig {
  return hasForm(value, {
    title: 'string', description: 'string', language: 'string', type: 'string', contacts: 'strings',
    accessModel: 'string', rosterGroups: 'strings', publishModel: 'string', subscribe: 'boolean',
    deliverNotifications: 'boolean', deliverPayloads: 'boolean', notificationType: 'string', notifyConfig: 'boolean',
    notifyDelete: 'boolean', notifyRetract: 'boolean', notifySub: 'boolean', persistItems: 'boolean',
    maxPayloadSize: 'number', publishNodeFull: 'string', sendLast: 'string', itemReply: 'string', suggested: 'boolean?',
    nodeType: 'string?', collections: 'strings?', associationPolicy: 'string?', associationWhitelist: 'strings?',
  }) && isCountOrMax(value['childrenMax'] ?? 'max') && isCountOrMax(value['maxItems']) && isCountOrMax(value['itemExpire']) && MODELS.has(String(value['accessModel']))
}

const MODELS: ReadonlySet<string> = new Set(['open', 'presence', 'roster', 'authorize', 'whitelist'])

function isCountOrMax (value: unknown): boolean { return typeof value === 'number' || value === 'max' }
