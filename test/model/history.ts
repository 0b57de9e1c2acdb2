/** What a phone knows of its account's conversations: by what came live, and by the pages of its archive (XEP-0313). */
import type { Element } from '../../lib/xml/element.js'

/** A message in a stanza that has come, by the number that is its text. */
export interface Heard {
  readonly message: number
  /** Its id in the archive of the account that heard it. */
  readonly id: string | undefined
  /** It had waited somewhere before. */
  readonly isLate: boolean
}

/** On a page of the archive. */
export interface Paged { readonly message: number, readonly id: string, readonly query: string }

/** How many messages a page has at most. */
const PAGE = 3

/** The message in this stanza, be it a copy of what another device has sent or got; undefined: there is none with words. */
export function heardIn (element: Element, account: string): Heard | undefined {
  const copied = element.getChild('received') ?? element.getChild('sent')
  const message = copied?.getChild('forwarded')?.getChild('message') ?? element
  const text = message.getChildText('body')
  if (text === null) return undefined
  const ids = message.getChildren('stanza-id')
  if (ids.some(({ attrs }) => attrs['by'] !== account)) throw new Error(`${account} was told what is not its business: ${element.toString()}`)
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
  /** Messages that it has said, has got, or has read in the archive. */
  readonly known = new Set<number>()
  /** Ids of the archive, in the order in which pages brought them. */
  readonly paged: string[] = []
  /** The last id before which it lacks nothing. */
  #last: string | undefined
  /** It has read to the end of the archive, and what is new comes by itself. */
  #isCaughtUp = false
  #queries = 0
  /** The page that it waits for, and what of it has come. */
  #query: string | undefined
  #page: Paged[] = []

  get isCaughtUp (): boolean { return this.#isCaughtUp }

  /** It comes anew: what came meanwhile went past it. */
  away (): void {
    this.#isCaughtUp = false
    this.#query = undefined
  }

  /** What it has missed in one session only came late. */
  hears ({ message, id, isLate }: Heard): void {
    this.known.add(message)
    if (this.#isCaughtUp && id !== undefined && !isLate) this.#last = id
  }

  /** Asks for the page behind the last id: by its place among pages, or in the form. What it asked before it waits for no longer. */
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

  /** Something of a page that it has asked for, or had once. */
  reads (paged: Paged): void {
    if (paged.query === this.#query) this.#page.push(paged)
  }

  /** The end of a page. What of it came before is gone over once more by who asked again. */
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
