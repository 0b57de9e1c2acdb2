/** XEP-0377: a user who blocks an address may report it; the administrators are told. */
import {
  attributeOf, Budgets, child, children, NS, parseJid, shortened, stanza, StanzaError, textOf, xml,
} from '../../lib/api.js'
import type { Element, Jid, ModuleHost } from '../../lib/api.js'

/** The most characters of a reason and of what the user writes, and the most messages that a report names. */
const LONGEST_REASON = 100
const LONGEST_TEXT = 1000
const MOST_MESSAGES = 20
/** The reports of an account that are passed on at once, and how often one more is, in milliseconds. */
const AT_ONCE = 5
const EVERY = 10 * 60_000
/** The most accounts whose reports are counted. */
const ACCOUNTS = 10_000

/** A report of one address. `messages`: the ids by which archives know the reported messages, with their archives. */
interface Report {
  readonly address: Jid
  readonly reason: string
  readonly text: string
  readonly messages: readonly { readonly by: string, readonly id: string }[]
}

/** Returns the report of an item that is blocked; undefined without one. Throws bad-request without a reason (§4). */
export function reportIn (item: Element, address: Jid | undefined): Report | undefined {
  const report = child(item, NS.REPORTING, 'report')
  if (report === undefined || address === undefined) return undefined
  const reason = attributeOf(report, 'reason') ?? ''
  if (reason === '') throw new StanzaError('bad-request', 'the report has no reason')
  const [text] = children(report, NS.REPORTING, 'text')
  const named = children(report, NS.STANZA_ID, 'stanza-id').slice(0, MOST_MESSAGES)
  return {
    address,
    reason: shortened(reason, LONGEST_REASON),
    text: text === undefined ? '' : shortened(textOf(text).trim(), LONGEST_TEXT),
    messages: named.map(one => ({
      by: shortened(attributeOf(one, 'by') ?? '', LONGEST_TEXT), id: shortened(attributeOf(one, 'id') ?? '', LONGEST_TEXT),
    })),
  }
}

/** Passes reports on to the administrators of the host. */
export class Reports {
  readonly #host: ModuleHost
  readonly #rates: Budgets

  constructor (host: ModuleHost) {
    this.#host = host
    this.#rates = new Budgets(host.clock, 1000 / EVERY, AT_ONCE, ACCOUNTS)
  }

  /** Tells each administrator by a message, and the log. A user who reports too much is not passed on. */
  tell (account: Jid, reports: readonly Report[]): void {
    const { log } = this.#host
    for (const report of reports) {
      if (this.#rates.of(account.toString()).claim(1, 0) === undefined) {
        log.info('report not passed on', { account: account.toString(), reason: 'the account reports too often' })
        return
      }
      const { address, reason } = report
      log.info('address reported', { account: account.toString(), address: address.toString(), reason })
      for (const admin of this.#host.admins) this.#send(parseJid(admin), account, report)
    }
  }

  #send (admin: Jid, account: Jid, { address, reason, text, messages }: Report): void {
    const { domain, ids, router } = this.#host
    const said = [
      `${account.toString()} has blocked and reported ${address.toString()}: ${WORDS.get(reason) ?? reason}.`,
      ...text === '' ? [] : [`The user writes: ${text}`],
      ...messages.map(({ by, id }) => `Reported message: ${id} in the archive of ${by}`),
    ].join('\n')
    const report = xml('report', { xmlns: NS.REPORTING, reason },
      ...messages.map(named => xml('stanza-id', { xmlns: NS.STANZA_ID, ...named })),
      text === '' ? undefined : xml('text', {}, text))
    router.route(stanza(xml('message', { id: ids.next() },
      xml('subject', {}, `Report of ${address.toString()}`), xml('body', {}, said),
      xml('block', { xmlns: NS.BLOCKING }, xml('item', { jid: address.toString() }, report))), parseJid(domain), admin))
  }
}

/** §4: the reasons that the XEP defines. */
const WORDS: ReadonlyMap<string, string> = new Map([
  ['urn:xmpp:reporting:spam', 'unwanted messages'], ['urn:xmpp:reporting:abuse', 'abuse'],
])
