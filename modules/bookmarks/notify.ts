/** The settings for the notifications of single chats, which bookmarks carry as extensions (XEP-0492). */
import {
  accountRemoved, attributeOf, chatSettings, child, childElements, FairCache, flatten, namespaceOf, NS, parsedPayload,
  pepChanging, personalEventing,
} from '../../lib/api.js'
import type { ChatSettings, Element, Jid, Maybe, ModuleHost, NodeEvent, NotifySetting } from '../../lib/api.js'
import { roomOf } from './conversion.js'

/** Bytes of the settings in memory: of one account, and of all. Others are read again. */
const OF_ONE = 64 * 1024
const OF_ALL = 8 * 1024 * 1024
/** Bytes of a chat and of a setting beside their texts, about. */
const CHAT = 200
const SETTING = 150
/** The most settings of a chat, and the longest name of an identity, in characters. Longer ones fit no device. */
const MOST = 20
const LONGEST = 50

const WHEN: ReadonlySet<string> = new Set(['always', 'on-mention', 'never'])

/** Offers the settings to other modules. */
export function offerNotifySettings (host: ModuleHost): void {
  const settings = new NotifySettings(host)
  host.provide(chatSettings, settings)
  host.on(pepChanging, ({ account, work }) => {
    const events = work.events.filter(({ node }) => node.name === NS.BOOKMARKS)
    if (events.length > 0) work.change.batch.committed(() => { settings.forget(account, events) })
  })
  host.on(accountRemoved, ({ batch }) => { batch.committed(() => { settings.clear() }) }, 'record')
}

/** The settings of the accounts of a host, as their bookmarks have them. */
class NotifySettings implements ChatSettings {
  readonly #host: ModuleHost
  #known = made()
  /** Counts changes, so that settings that were read before one are not remembered after it. */
  #version = 0

  constructor (host: ModuleHost) { this.#host = host }

  notify (account: Jid, chat: Jid): Maybe<readonly NotifySetting[]> {
    const room = chat.bare.toString()
    return this.#known.get(account.toString(), room) ?? this.#read(account, room)
  }

  /** Forgets the settings that these events may have changed. */
  forget (account: Jid, events: readonly NodeEvent[]): void {
    this.#version++
    for (const event of events) {
      if (event.what !== 'item' && event.what !== 'retract') {
        this.clear()
        return
      }
      const id = event.what === 'item' ? event.item.id : event.id
      this.#known.delete(account.toString(), roomOf(id) ?? id)
    }
  }

  clear (): void {
    this.#version++
    this.#known = made()
  }

  async #read (account: Jid, room: string): Promise<readonly NotifySetting[]> {
    const version = this.#version
    const pep = this.#host.use(personalEventing)
    const node = (await pep.nodes(account)).get(NS.BOOKMARKS)
    const payload = node === undefined ? undefined : (await pep.item(account, node, room))?.payload
    const found = payload === undefined ? [] : settingsIn(parsedPayload(payload))
    if (version === this.#version) this.#known.set(account.toString(), room, found)
    return found
  }
}

function made (): FairCache<readonly NotifySetting[]> {
  return new FairCache({
    each: OF_ONE, all: OF_ALL, sizeOf: (room, settings) => CHAT + 2 * room.length + SETTING * settings.length,
  })
}

/** Returns the settings in the extensions of a bookmark (XEP-0402 §3, XEP-0492 §2). */
function settingsIn (conference: Element): readonly NotifySetting[] {
  const extensions = child(conference, NS.BOOKMARKS, 'extensions')
  const notify = extensions === undefined ? undefined : child(extensions, NS.NOTIFICATION_SETTINGS, 'notify')
  if (notify === undefined) return []
  const found: NotifySetting[] = []
  for (const element of childElements(notify)) {
    const when = element.getName()
    const [category, type] = [nameIn(element, 'identity-category'), nameIn(element, 'identity-type')]
    if (namespaceOf(element) !== NS.NOTIFICATION_SETTINGS || !isWhen(when) || found.length === MOST) continue
    if (type !== undefined && category === undefined) continue // §2.2: a type comes with its category
    found.push({ when, category, type })
  }
  return found
}

function isWhen (name: string): name is NotifySetting['when'] { return WHEN.has(name) }

function nameIn (element: Element, attribute: string): string | undefined {
  const text = attributeOf(element, attribute)
  return text === undefined ? undefined : text.length > LONGEST ? '' : flatten(text)
}
