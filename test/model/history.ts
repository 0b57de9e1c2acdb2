/** A phone's knowledge of its account's conversations, from live messages and pages of the archive (XEP-0313). */
import type { Element } from '../../lib/xml/element.js'

/** A message in a stanza that arrived, identified by the number in its text. */
export interface Heard {
  readonly message: number
  /** Its id in the archive of the account that got it. */
  readonly id: string | undefined
  /** True if it was stored before it was delivered. */
  readonly isLate: boolean
}

/** A message on a page of the archive. */
export interface Paged { readonly message: number, readonly id: string, readonly query: string }

/** The largest number of messages on a page. */
const PAGE = 3

/** Returns the message in this stanza, which may be a carbon; undefined if it has no text. */
export function heardIn (element: Element, account: string): Heard | undefined {
  const copied = element.getChild('received') ?? element.getChild('sent')
  const message = copied?.getChild('forwarded')?.getChild('message') ?? element
  const text = message.getChildText('body')
  if (text === null) return undefined
  const ids = message.getChildren('stanza-id')
  if (ids.some(({ attrs }) => attrs['by'] !== account)) throw new Error(`${account} got the archive id of another account: ${element.toString()}`)
  if (ids.length > 1) throw new Error(`two ids: ${element.toString()}`)
  return { message: Number(text), id: ids[0]?.attrs['id'] as string | undefined, isLate: message.getChild('delay') !== undefined }
}

export function pagedIn (element: Element): Paged | undefined {
  const result = element.getChild('result')
  const text = result?.getChild('forwarded')?.getChild('message')?.getChildText('body')
  if (result === undefined || text === undefined || text === null) return undefined
  return { message: Number(text), id: String(result.attrs['id']), query: String(result.attrs['queryid']) }
}

export class History {
  /** The messages that the phone has sent, got, or read in the archive. */
  readonly known = new Set<number>()
  /** Ids of the archive, in the order in which pages brought them. */
  readonly paged: string[] = []
  /** The last id before which it has everything. */
  #last: string | undefined
  /** True once it has read to the end of the archive; new messages then arrive live. */
  #isCaughtUp = false
  #queries = 0
  /** The id of the page that it waits for, and the messages of that page so far. */
  #query: string | undefined
  #page: Paged[] = []

  get isCaughtUp (): boolean { return this.#isCaughtUp }

  /** Notes that the phone begins anew: it has missed what came meanwhile. */
  away (): void {
    this.#isCaughtUp = false
    this.#query = undefined
  }

  /** Notes a live message. A late one does not move the last id, as others before it may be missing. */
  hears ({ message, id, isLate }: Heard): void {
    this.known.add(message)
    if (this.#isCaughtUp && id !== undefined && !isLate) this.#last = id
  }

  /**
   * Returns a request for the page after the last id, as a paging position or in the form. Earlier requests are no
   * longer waited for.
   */
  asks (how: 'page' | 'form'): string {
    const id = this.#query = `page-${++this.#queries}`
    this.#page = []
    const isInForm = how === 'form' && this.#last !== undefined
    const form = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>" +
      `<field var='after-id'><value>${this.#last ?? ''}</value></field></x>`
    const after = this.#last === undefined || isInForm ? '' : `<after>${this.#last}</after>`
    return `<iq type='set' id='${id}'><query xmlns='urn:xmpp:mam:2' queryid='${id}'>${isInForm ? form : ''}` +
      `<set xmlns='http://jabber.org/protocol/rsm'><max>${PAGE}</max>${after}</set></query></iq>`
  }

  /** Notes a message of a page. It ignores pages that it no longer waits for. */
  reads (paged: Paged): void {
    if (paged.query === this.#query) this.#page.push(paged)
  }

  /** Handles the end of a page. Messages of a page that was requested again are read once more. */
  turns (iq: Element): void {
    if (iq.attrs['id'] !== this.#query) return
    const fin = iq.getChild('fin', 'urn:xmpp:mam:2')
    const page = this.#page
    const told = ['first', 'last'].map(name => fin?.getChild('set')?.getChildText(name) ?? undefined)
    const isOf = told[0] === page[0]?.id && told[1] === page.at(-1)?.id
    if (fin === undefined || !isOf || page.length > PAGE) throw new Error(`a page of ${page.length} ends with ${iq.toString()}`)
    this.#query = undefined
    this.#isCaughtUp = fin.attrs['complete'] === 'true'
    if (page.length === 0 && !this.#isCaughtUp) throw new Error('an empty page that is not the last')
    for (const { message, id } of page) {
      this.known.add(message)
      this.paged.push(id)
      this.#last = id
    }
  }
}
