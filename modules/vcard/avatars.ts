/** XEP-0398: the avatar of a user is the same in the vCard and in the nodes of XEP-0084, and presence names it. */
import { accountRemoved, Cache, child, follow, namespaceOf, NS, parsedPayload, pepChanging, personalEventing, presenceSent, put, textOf, xml } from '../../lib/api.js'
import type { Batch, Element, Jid, Maybe, ModuleHost, NodeEvent, PresenceSent, Work } from '../../lib/api.js'
import type { Cards, Shown } from './cards.js'
import { avatarOf, decoded, hashOf, infoIn, photoIn, withPhoto, type Photo } from './photo.js'

const VCARD = { name: 'vCard', namespace: NS.VCARD }
/** The most accounts whose hashes are remembered. */
const HASHES = 20_000

/** The hash that presence names: '' if there is no picture any more, undefined if there has never been one. */
interface Named { readonly hash: string | undefined }

const NODES: ReadonlySet<string> = new Set([NS.AVATAR_DATA, NS.AVATAR_METADATA])

export class Avatars {
  readonly #host: ModuleHost
  readonly #cards: Cards
  readonly #hashes = new Cache<string, Named>({ max: HASHES })
  /** Changes that come from a vCard. */
  readonly #own = new WeakSet<Work>()

  constructor (host: ModuleHost, cards: Cards) {
    this.#host = host
    this.#cards = cards
  }

  /** Keeps vCard, nodes and presence in step. */
  follow (): void {
    this.#host.on(pepChanging, ({ account, work }) => {
      const events = work.events.filter(({ node }) => NODES.has(node.name))
      return events.length === 0 || this.#own.has(work) ? undefined : this.#fromNodes(account, work, events)
    })
    this.#host.on(presenceSent, event => this.#stamp(event), 'stamp')
    this.#host.on(accountRemoved, ({ account, batch }) => {
      batch.committed(() => { this.#hashes.delete(account.toString()) })
    }, 'record')
  }

  // ---- From the vCard -----------------------------------------------------------------------------------------

  /** Stores a vCard, and publishes its picture as an avatar (XEP-0398 §3.2). Rejects with StanzaError. */
  async setCard (account: Jid, card: Element, batch: Batch): Promise<void> {
    const pep = this.#host.find(personalEventing)
    if (pep === undefined) {
      await this.#keep(account, card, batch)
      return
    }
    await pep.change(account, batch, async work => {
      this.#own.add(work)
      const before = await this.#shown(account)
      const photo = await this.#keep(account, card, batch)
      const hash = photo === undefined ? '' : hashOf(photo.data)
      if (hash === before.hash) return
      if (photo !== undefined) await publishPhoto(work, photo, hash)
      else if (await currentInfo(work) === before.hash) await put(work, NS.AVATAR_METADATA, [NO_AVATAR], {})
    })
  }

  /** Stores a vCard, and notes its picture. Returns the picture. */
  async #keep (account: Jid, card: Element, batch: Batch): Promise<Photo | undefined> {
    this.#cards.keep(account, VCARD.name, card, batch)
    const photo = photoIn(card)
    const hash = photo === undefined ? '' : hashOf(photo.data)
    // Without this, the presence of everybody with a vCard would say that there is no picture.
    if (hash !== (await this.#shown(account)).hash) this.#show(account, { by: 'vcard', hash }, batch)
    return photo
  }

  // ---- From the nodes -----------------------------------------------------------------------------------------

  /** Takes a change of the nodes of an avatar (§3.1). Only one that everybody may see gets into the vCard (§7). */
  async #fromNodes (account: Jid, work: Work, events: readonly NodeEvent[]): Promise<void> {
    const before = await this.#shown(account)
    const photo = await openPhoto(work)
    const hash = photo === undefined ? '' : hashOf(photo.data)
    if (hash === before.hash) return
    // A picture of the vCard stays if the nodes have only one for contacts, and goes if the avatar was removed.
    if (photo === undefined && before.by === 'vcard' && !events.some(isRemoval)) return
    const card = withPhoto(await this.#cards.parsed(account, VCARD), photo)
    if (!this.#cards.fits(card)) return
    this.#cards.keep(account, VCARD.name, card, work.change.batch)
    this.#show(account, { by: 'pep', hash }, work.change.batch)
  }

  // ---- Presence -----------------------------------------------------------------------------------------------

  /**
   * §4: available presence, also to one address, names the picture, unless the device says that it shows none. After
   * the picture was removed, presence says so (XEP-0153): otherwise rooms and older clients would show it for ever.
   */
  #stamp (event: PresenceSent): Maybe<undefined> {
    const { presence, session } = event
    if (presence.type !== 'available') return undefined
    const update = presence.child(NS.VCARD_UPDATE, 'x')
    const photo = update === undefined ? undefined : child(update, NS.VCARD_UPDATE, 'photo')
    if (photo !== undefined && textOf(photo).trim() === '') return undefined
    return follow(this.#hash(session.account), ({ hash }) => {
      if (hash === undefined && update === undefined) return undefined
      const named = xml('x', { xmlns: NS.VCARD_UPDATE }, xml('photo', {}, hash ?? ''))
      event.presence = presence.with({ without: isUpdate, plus: [named] })
      return undefined
    })
  }

  #hash (account: Jid): Maybe<Named> { return this.#hashes.get(account.toString()) ?? this.#named(account) }

  async #named (account: Jid): Promise<Named> {
    const isNoted = await this.#cards.shown(account) !== undefined
    const { hash } = await this.#shown(account)
    // A picture that was stored while this was read is newer.
    const known = this.#hashes.get(account.toString())
    if (known !== undefined) return known
    const named = { hash: isNoted || hash !== '' ? hash : undefined }
    this.#hashes.set(account.toString(), named)
    return named
  }

  /** Returns the picture that is shown. A vCard of an earlier version was stored without a note of it. */
  async #shown (account: Jid): Promise<Shown> {
    const noted = await this.#cards.shown(account)
    if (noted !== undefined) return noted
    const photo = photoIn(await this.#cards.parsed(account, VCARD))
    return { by: 'vcard', hash: photo === undefined ? '' : hashOf(photo.data) }
  }

  #show (account: Jid, shown: Shown, batch: Batch): void {
    this.#cards.show(account, shown, batch)
    batch.answering(() => { this.#hashes.set(account.toString(), { hash: shown.hash }) })
  }
}

function isUpdate (element: Element): boolean {
  return element.getName() === 'x' && namespaceOf(element) === NS.VCARD_UPDATE
}

/** The metadata of no avatar (XEP-0084 §4.3). */
const NO_AVATAR = { id: undefined, payload: xml('metadata', { xmlns: NS.AVATAR_METADATA }) } as const

/** True if the avatar was removed: by empty metadata, a purge, or with its node. */
function isRemoval (event: NodeEvent): boolean {
  if (event.node.name !== NS.AVATAR_METADATA) return event.what === 'purge' || event.what === 'delete'
  switch (event.what) {
    case 'purge': case 'delete': case 'retract': return true
    case 'item': return event.payload === undefined || infoIn(event.payload) === undefined
    default: return false
  }
}

async function publishPhoto (work: Work, photo: Photo, id: string): Promise<void> {
  const { data, metadata } = avatarOf(photo, id)
  // A vCard is public, so the nodes are public, too, if they are made here.
  await put(work, NS.AVATAR_DATA, [{ id, payload: data }], { accessModel: 'open' })
  await put(work, NS.AVATAR_METADATA, [{ id, payload: metadata }], { accessModel: 'open' })
}

/** Returns the id of the avatar that the metadata name; undefined if there is none. */
async function currentInfo (work: Work): Promise<string | undefined> {
  const node = work.change.node(NS.AVATAR_METADATA)
  const item = node === undefined ? undefined : await work.change.newest(node)
  return item?.payload === undefined ? undefined : infoIn(parsedPayload(item.payload))?.id
}

/** Returns the avatar in the nodes if everybody may see it, and its data are what they say. */
async function openPhoto (work: Work): Promise<Photo | undefined> {
  const metadata = work.change.node(NS.AVATAR_METADATA)
  const node = work.change.node(NS.AVATAR_DATA)
  if (metadata === undefined || node?.config.accessModel !== 'open') return undefined
  const newest = await work.change.newest(metadata)
  const info = newest?.payload === undefined ? undefined : infoIn(parsedPayload(newest.payload))
  const item = info === undefined ? undefined : await work.change.item(node, info.id)
  const data = item?.payload === undefined ? undefined : decoded(textOf(parsedPayload(item.payload)))
  if (info === undefined || data === undefined || hashOf(data) !== info.id.toLowerCase()) return undefined
  return { data, type: info.type }
}
