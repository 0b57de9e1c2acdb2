/** Writes messages into the archives of accounts (XEP-0313 §3, §5.1), and knows under which ids. */
import { addressed, archiveIdIn, follow, fromOctets, NS, rosters, xml } from '../../lib/api.js'
import type {
  Archives, Batch, Jid, Journal, Maybe, Message, MessageAddressed, MessageSent, ModuleHost, NewEntry, Payer,
} from '../../lib/api.js'
import { wishFor } from './preferences.js'
import type { Retention } from './retention.js'
import { aliasOf, retractionIn, type Retractions } from './retraction.js'
import type { Wishes } from './wishes.js'
import { isWorthArchiving, textIn } from './worth.js'

/** The batch that stores a message, and the session that pays for a retraction. */
interface Paid { readonly batch: Batch, readonly payer: Payer | undefined }

/** The dependencies of Archiver. */
export interface ArchiverDeps {
  readonly messages: Journal<string>
  readonly wishes: Wishes
  readonly retention: Retention
  readonly retractions: Retractions
}

/** The archives of all accounts of a host, as messages are written into them. */
export class Archiver implements Archives {
  readonly #host: ModuleHost
  readonly #parts: ArchiverDeps
  /** The archive ids of messages, for as long as a message object is in use. */
  readonly #ids = new WeakMap<object, { readonly account: Jid, readonly id: string }>()

  constructor (host: ModuleHost, parts: ArchiverDeps) {
    this.#host = host
    this.#parts = parts
  }

  /** Archives a message that the account sends, if it wants that. */
  sent ({ message, session, batch }: MessageSent): Maybe<void> {
    const { account } = session
    if (!isWorthArchiving(message)) return undefined
    return follow(this.#wants(account, message.to), wanted => {
      if (!wanted) return
      const id = this.#host.ids.next()
      // A message to oneself also arrives, and is archived only then. Copies of the sent message already name its id.
      if (!message.to.bare.equals(account)) this.#append(id, account, message.to, message, { batch, payer: session })
      this.#ids.set(message, { account, id })
    })
  }

  /** Archives a message for the account, if it wants that, and adds the archive id to it. */
  received (event: MessageAddressed): Maybe<void> {
    const { message, account } = event
    if (!isWorthArchiving(message)) return undefined
    const known = this.idOf(account, message)
    return follow(known !== undefined || this.#wants(account, message.from), wanted => {
      if (!wanted) return
      const id = known ?? this.#host.ids.next()
      this.#append(id, account, message.from, message, event)
      const stanzaId = xml('stanza-id', { xmlns: NS.STANZA_ID, by: account.toString(), id })
      event.message = addressed(message.with({ plus: [stanzaId] }), message.to)
      this.#ids.set(event.message, { account, id })
    })
  }

  /** True if this message was archived. */
  hasArchived (message: Message): boolean { return this.#ids.has(message) }

  idOf (account: Jid, message: Message): string | undefined {
    const known = this.#ids.get(message)
    return known?.account.equals(account) === true ? known.id : undefined
  }

  async has (account: Jid, wanted: readonly string[]): Promise<ReadonlySet<string>> {
    const { entries } = await this.#parts.messages.page(account.toString(), { ids: wanted, limit: wanted.length })
    return new Set(entries.map(entry => entry.id))
  }

  keeps (account: Jid, message: Message): Maybe<boolean> {
    if (this.idOf(account, message) !== undefined) return true
    const id = archiveIdIn(message.children(), account)
    return id === undefined ? false : this.has(account, [id]).then(found => found.has(id))
  }

  /** Adds an entry of an import. */
  take (account: Jid, entry: NewEntry<string>, batch: Batch): void {
    batch.add(this.#parts.messages.appending(account.toString(), entry))
    this.#parts.retention.grew(account.toString())
  }

  #append (id: string, account: Jid, contact: Jid, message: Message, { batch, payer }: Paid): void {
    const { messages, retention, retractions } = this.#parts
    const owner = account.toString()
    // The time is that of the commit, so that a client that pages by time does not miss a message that waited (§4.1.2).
    batch.submitting(() => {
      const at = this.#host.clock.now()
      const value = fromOctets(message.octets())
      batch.add(messages.appending(owner, {
        id, at, with: contact.toString(), value, ...aliasOf(message), ...textIn(message),
      }))
    })
    retention.grew(owner)
    const retraction = retractionIn(message)
    if (retraction === undefined) return
    // After the commit, all earlier messages are stored too, and the retracted one can be found.
    batch.committed(() => { retractions.add(owner, contact.bare.toString(), retraction, payer) })
  }

  #wants (account: Jid, contact: Jid): Maybe<boolean> {
    return follow(this.#parts.wishes.of(account), preferences => {
      const wish = wishFor(preferences, contact)
      if (wish !== 'undecided') return wish === 'keep'
      return follow(this.#host.find(rosters)?.of(account), roster => roster?.item(contact.bare) !== undefined)
    })
  }
}
