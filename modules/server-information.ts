/** XEP-0485 PubSub Server Information: publishes the connections to other domains that want that. */
import {
  attributeOf, child, children, defineModule, discovery, NS, parseJid, setting, StanzaError, xml,
} from '../lib/api.js'
import type { Element, Jid, ModuleHost } from '../lib/api.js'

const NODE = 'serverinfo'
/** The age at which the item is removed, so that nothing stays if the module is turned off; in seconds. */
const LIFETIME = 24 * 60 * 60
/** The first publication comes this long after the start, when the services are there; in milliseconds. */
const START = 5000
/** An item that is the same as before is published again after this time, in milliseconds. */
const REFRESH = 6 * 60 * 60 * 1000
/** How long an answer of another domain holds, in milliseconds: that it publishes, too, or that it does not. */
const WILLING = 60 * 60 * 1000
const UNWILLING = 6 * 60 * 60 * 1000
/** How long another domain may take for its answer, in milliseconds; how many are asked at once, and in one round. */
const PATIENCE = 10_000
const AT_ONCE = 10
const MOST_ASKED = 100
/** The most domains that are named. */
const MOST = 1000

export default defineModule({
  name: 'server-information',
  about: 'Publishes which other domains this domain exchanges stanzas with: only those that publish theirs as well.',
  xeps: ['0485 v1.0.0'],
  features: { host: [NS.SERVER_INFORMATION] },
  requires: ['disco'],
  isOff: true,
  settings: {
    service: setting.optional(setting.domain()).says('The publish-subscribe service with the node `serverinfo`. If left out, the first one of this host.'),
    interval: setting.duration({ min: '1m', max: '1d' }).default('10m').says('How often the connections to other servers are looked at. The node changes no more often.'),
  },

  setup (host) {
    const information = new Information(host)
    host.whileUp(() => {
      const timer = host.clock.every(host.settings.interval, () => { void information.update(host.settings.service) })
      const start = host.clock.after(START, () => { void information.update(host.settings.service) })
      const removed = host.use(discovery).form(() => information.form)
      return () => {
        timer.cancel()
        start.cancel()
        removed()
      }
    })
  },
})

/** The answer of another domain, and until when it holds. */
interface Known { readonly isWilling: boolean, readonly until: number }

/** The node of one host, and what other domains have answered. */
class Information {
  readonly #host: ModuleHost
  readonly #known = new Map<string, Known>()
  #service: Jid | undefined
  #published = ''
  #at = 0
  #isBusy = false
  /** The condition of the last error, which is logged once. */
  #trouble: string | undefined

  constructor (host: ModuleHost) { this.#host = host }

  /** The form that names the node (§3); undefined before it is there. */
  get form (): Element | undefined {
    if (this.#service === undefined) return undefined
    return xml('x', { xmlns: NS.DATA, type: 'result' },
      xml('field', { var: 'FORM_TYPE', type: 'hidden' }, xml('value', {}, NS.SERVER_INFO)),
      xml('field', { var: 'serverinfo-pubsub-node' }, xml('value', {}, `xmpp:${this.#service.toString()}?;node=${NODE}`)))
  }

  /** Publishes what has changed. One update at a time; never rejects. */
  async update (service: string | undefined): Promise<void> {
    if (this.#isBusy) return
    this.#isBusy = true
    try {
      await this.#update(service)
      this.#trouble = undefined
    } catch (error) {
      const { log } = this.#host
      if (!(error instanceof StanzaError)) log.error('server information not published', { error })
      else if (error.condition !== this.#trouble) log.warn('server information not published', { condition: error.condition })
      this.#trouble = error instanceof StanzaError ? error.condition : undefined
    } finally {
      this.#isBusy = false
    }
  }

  async #update (service: string | undefined): Promise<void> {
    const { clock } = this.#host
    const at = this.#service ?? (service === undefined ? await this.#found() : parseJid(service))
    if (at === undefined) throw new StanzaError('item-not-found', 'the host has no publish-subscribe service')
    const payload = await this.#payload()
    const text = payload.toString()
    if (text === this.#published && clock.now() - this.#at < REFRESH) return
    if (this.#service === undefined) await this.#create(at)
    const item = xml('publish', { node: NODE }, xml('item', { id: 'current' }, payload))
    await this.#ask(at, item)
    this.#service = at
    this.#published = text
    this.#at = clock.now()
  }

  /** Returns the first publish-subscribe service that the host shows. */
  async #found (): Promise<Jid | undefined> {
    for (const { jid } of this.#host.offeredServices) {
      const query = await this.#info(jid)
      const isPubSub = query !== undefined && children(query, NS.DISCO_INFO, 'identity')
        .some(one => attributeOf(one, 'category') === 'pubsub' && attributeOf(one, 'type') === 'service')
      if (isPubSub) return jid
    }
    return undefined
  }

  /** Makes the node (§5). One that is there already must belong to this domain. */
  async #create (service: Jid): Promise<void> {
    const field = (name: string, value: string): Element => xml('field', { var: `pubsub#${name}` }, xml('value', {}, value))
    const form = xml('x', { xmlns: NS.DATA, type: 'submit' },
      xml('field', { var: 'FORM_TYPE', type: 'hidden' }, xml('value', {}, NS.PUBSUB_NODE_CONFIG)),
      field('title', `Server information of ${this.#host.domain}`), field('type', NS.SERVER_INFORMATION),
      field('access_model', 'open'), field('publish_model', 'publishers'), field('max_items', '1'),
      field('item_expire', String(LIFETIME)))
    try {
      await this.#ask(service, xml('create', { node: NODE }), xml('configure', {}, form))
    } catch (error) {
      if (!(error instanceof StanzaError) || error.condition !== 'conflict') throw error
      // Only an owner gets the configuration: the node of somebody else is not taken.
      const configure = xml('pubsub', { xmlns: NS.PUBSUB_OWNER }, xml('configure', { node: NODE }))
      await this.#host.ask(service, configure, { type: 'get' })
    }
  }

  async #ask (service: Jid, ...content: readonly Element[]): Promise<void> {
    await this.#host.ask(service, xml('pubsub', { xmlns: NS.PUBSUB }, ...content), { type: 'set' })
  }

  // ---- Other domains ------------------------------------------------------------------------------------------

  /** Returns the information (§4): the connections to domains that publish theirs as well, and nothing of others. */
  async #payload (): Promise<Element> {
    const types = new Map<string, Set<string>>()
    for (const { remote, direction } of this.#host.router.connections()) {
      const known = types.get(remote) ?? new Set<string>()
      types.set(remote, known.add(TYPES[direction]))
    }
    await this.#learn([...types.keys()])
    const named = [...types].filter(([domain]) => this.#known.get(domain)?.isWilling === true)
      .sort(([one], [other]) => one < other ? -1 : 1).slice(0, MOST)
    const remote = named.map(([name, of]) => xml('remote-domain', { name }, ...[...of].sort().map(type => xml('connection', { type }))))
    return xml('serverinfo', { xmlns: NS.SERVER_INFORMATION },
      xml('domain', { name: this.#host.domain }, xml('federation', {}, ...remote)))
  }

  /** Asks the domains whose answers do not hold any more; those that are not connected are forgotten. */
  async #learn (domains: readonly string[]): Promise<void> {
    const now = this.#host.clock.now()
    const connected = new Set(domains)
    for (const [domain, { until }] of this.#known) {
      if (!connected.has(domain) || until <= now) this.#known.delete(domain)
    }
    const asked = domains.filter(domain => !this.#known.has(domain)).slice(0, MOST_ASKED)
    for (let begin = 0; begin < asked.length; begin += AT_ONCE) {
      await Promise.all(asked.slice(begin, begin + AT_ONCE).map(async domain => {
        const query = await this.#info(parseJid(domain))
        const isWilling = query !== undefined && children(query, NS.DISCO_INFO, 'feature')
          .some(one => attributeOf(one, 'var') === NS.SERVER_INFORMATION)
        this.#known.set(domain, { isWilling, until: now + (isWilling ? WILLING : UNWILLING) })
      }))
    }
  }

  /** Returns the disco#info of a domain; undefined if it answers none. */
  async #info (of: Jid): Promise<Element | undefined> {
    try {
      const reply = await this.#host.ask(of, xml('query', { xmlns: NS.DISCO_INFO }), { timeout: PATIENCE })
      return child(reply, NS.DISCO_INFO, 'query')
    } catch (error) {
      if (error instanceof StanzaError) return undefined
      throw error
    }
  }
}

const TYPES = { in: 'incoming', out: 'outgoing', both: 'bidi' } as const
