/** The configuration of a node (XEP-0060 §8.2, §16.4.4): its options, and the form that shows and changes them. */
import { hasForm } from '../storage/shape.js'
import type { Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import {
  DataForm, field, FormAnswers, FormError, readForm, type FilledField, type FormField,
} from '../xmpp/form.js'
import { SUGGESTED } from './caching.js'
import { pubsubError } from './errors.js'

export type AccessModel = 'open' | 'presence' | 'roster' | 'authorize' | 'whitelist'
export type PublishModel = 'publishers' | 'subscribers' | 'open'

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
}

/** The defaults of a node on the address of an account (XEP-0163 §5, and what clients rely on). */
export const PEP_DEFAULTS: NodeConfig = {
  title: '', description: '', language: '', type: '', contacts: [],
  accessModel: 'presence', rosterGroups: [], publishModel: 'publishers', subscribe: true,
  deliverNotifications: true, deliverPayloads: true, notificationType: 'headline',
  notifyConfig: false, notifyDelete: true, notifyRetract: true, notifySub: false,
  persistItems: true, maxItems: 1, itemExpire: 'max', maxPayloadSize: 262_144, publishNodeFull: 'discard-oldest',
  sendLast: 'on_sub_and_presence', itemReply: 'none', suggested: false,
}

/** The defaults of a node of a service host (XEP-0060 §4.5: open). */
export const SERVICE_DEFAULTS: NodeConfig = {
  ...PEP_DEFAULTS,
  accessModel: 'open', maxItems: 'max', publishNodeFull: 'retract-oldest', notifyRetract: false, sendLast: 'on_sub',
}

/** The most characters of a text in the configuration, and the most contacts or roster groups. */
const LONGEST = 1024
const MOST = 50

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

function optionsOf (models: readonly AccessModel[], mostPayload: number): readonly Option[] {
  const payload = { ...named('max_payload_size', 'The most bytes of a payload')[1], most: mostPayload }
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
    option('publishModel', field.choice('pubsub#publish_model', ['publishers', 'subscribers', 'open'], { label: 'Who may publish' })),
    flag('subscribe', 'subscribe', 'Allow subscriptions'),
    flag('deliverNotifications', 'deliver_notifications', 'Send notifications'),
    flag('deliverPayloads', 'deliver_payloads', 'Send payloads with notifications'),
    option('notificationType', field.choice('pubsub#notification_type', ['normal', 'headline'], { label: 'The type of notification messages' })),
    flag('notifyConfig', 'notify_config', 'Notify when the configuration changes'),
    flag('notifyDelete', 'notify_delete', 'Notify when the node is deleted'),
    flag('notifyRetract', 'notify_retract', 'Notify when items are removed'),
    flag('notifySub', 'notify_sub', 'Notify owners of new and ended subscriptions'),
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

/** The form of the node type is always a leaf: there are no collections. */
const NODE_TYPE = field.choice('pubsub#node_type', ['leaf'], { label: 'The type of the node' })

/** The configuration form of the nodes of one service. */
export class NodeForm {
  readonly #options: readonly Option[]
  readonly #mostPayload: number
  readonly #form: DataForm

  /** `models`: the access models of the service. `mostPayload`: the most bytes that any payload may have. */
  constructor (models: readonly AccessModel[], mostPayload: number) {
    this.#options = optionsOf(models, mostPayload)
    this.#mostPayload = mostPayload
    this.#form = new DataForm(NS.PUBSUB_NODE_CONFIG, [...this.#options.map(one => one.field), NODE_TYPE])
  }

  /** Returns the form with the configuration as it is. The form is accepted as it was shown. */
  show (config: NodeConfig): Element { return this.#form.form(this.#filled(config)) }

  /** Returns the configuration as a result. */
  result (config: NodeConfig): Element { return this.#form.result(this.#filled(config)) }

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
    for (const one of this.#options) {
      if (!isSame(one.fill(config).values, one.fill(wanted).values)) throw preconditionNotMet(one.name)
    }
  }

  #preconditions (element: Element): FormAnswers {
    const raw = readForm(element)
    const known = new Set([...this.#options.map(({ name }) => name), NODE_TYPE.name])
    for (const name of raw.fields.keys()) if (!known.has(name)) throw preconditionNotMet(name)
    return answersIn(element, NS.PUBSUB_PUBLISH_OPTIONS)
  }

  #filled (config: NodeConfig): FilledField[] {
    const shown = { ...config, maxPayloadSize: Math.min(config.maxPayloadSize, this.#mostPayload) }
    return [...this.#options.map(one => one.fill(shown)), NODE_TYPE.is('leaf')]
  }

  #changed (config: NodeConfig, answers: FormAnswers): NodeConfig {
    try {
      answers.get(NODE_TYPE)
      let changed = { ...config, maxPayloadSize: Math.min(config.maxPayloadSize, this.#mostPayload) }
      for (const one of this.#options) changed = one.change(changed, answers)
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
  if (texts.some(one => one.length > LONGEST) || contacts.length > MOST || rosterGroups.length > MOST) {
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
  }) && isCountOrMax(value['maxItems']) && isCountOrMax(value['itemExpire']) && MODELS.has(String(value['accessModel']))
}

const MODELS: ReadonlySet<string> = new Set(['open', 'presence', 'roster', 'authorize', 'whitelist'])

function isCountOrMax (value: unknown): boolean { return typeof value === 'number' || value === 'max' }
