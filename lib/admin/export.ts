/** XEP-0227: accounts into a file that another server can read: their keys, and what each module keeps of them. */
import { linkSync, rmSync } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { HASH_NAMES } from '../auth/keys.js'
import { accountExporting } from '../host/events.js'
import type { Host } from '../host/host.js'
import type { Server } from '../host/server.js'
import { Unreadable } from '../storage/aside.js'
import { attributeOf, localName, namespaceOf, ParsedElement, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { octets, startTag } from '../xml/writer.js'
import { formatDateTime } from '../xmpp/datetime.js'
import { parseJid, type Jid } from '../xmpp/jid.js'
import { CommandError, type Talk } from './talk.js'

/** Accounts that are looked up at a time. */
const PAGE = 200
/** Accounts between two words about the progress. */
const TOLD_EVERY = 20
/** Octets that are gathered before they are written. */
const GATHERED = 262_144

/** Writes a file that must not be there, readable by its owner alone; of these hosts and accounts, or of all. Answers how many accounts. */
export async function exportAccounts (server: Server, file: string, wanted: readonly string[], talk: Talk): Promise<number> {
  const hosts = hostsOf(server, wanted)
  const part = `${file}.part`
  const handle = await created(part)
  try {
    const count = await new Export(handle, talk).run(hosts)
    await handle.sync()
    // Fails where the file is there by now: nothing is ever written over.
    linkSync(part, file)
    return count
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') throw new CommandError(`${file} is there already`, { cause: error })
    throw error
  } finally {
    await handle.close()
    rmSync(part, { force: true })
  }
}

async function created (part: string): Promise<FileHandle> {
  rmSync(part, { force: true }) // of an export that was interrupted
  try {
    return await open(part, 'wx', 0o600)
  } catch (error) {
    throw new CommandError(`${part} cannot be written: ${error instanceof Error ? error.message : ''}`, { cause: error })
  }
}

type Wanted = readonly { readonly host: Host, readonly account: Jid | undefined }[]

function hostsOf (server: Server, wanted: readonly string[]): Wanted {
  if (wanted.length === 0) return server.hosts.map(host => ({ host, account: undefined }))
  return wanted.map(text => {
    const jid = parseJid(text).bare
    const host = server.hostOf(jid)
    if (host === undefined) throw new CommandError(`${jid.domain} is not a host of this server`)
    return { host, account: jid.local === '' ? undefined : jid }
  })
}

class Export {
  readonly #handle: FileHandle
  readonly #talk: Talk
  #text = ''
  #accounts = 0

  constructor (handle: FileHandle, talk: Talk) {
    this.#handle = handle
    this.#talk = talk
  }

  async run (wanted: Wanted): Promise<number> {
    // `stream` is a prefix that stanzas of clients may have used, for there it is bound.
    await this.#write(`<?xml version='1.0' encoding='UTF-8'?>\n${startTag('server-data', { 'xmlns': NS.PIE, 'xmlns:stream': NS.STREAM })}`)
    for (const { host, account } of wanted) {
      await this.#write(`\n${startTag('host', { jid: host.domain })}`)
      if (account === undefined) await this.#all(host)
      else if (!await this.#account(host, account)) throw new CommandError(`there is no ${account.toString()}`)
      await this.#write('\n</host>')
    }
    await this.#write('\n</server-data>\n')
    await this.#flush()
    return this.#accounts
  }

  async #all (host: Host): Promise<void> {
    for (let after: string | undefined; ;) {
      const page = await host.accounts.list({ limit: PAGE, ...after === undefined ? {} : { after } })
      for (const { account } of page) await this.#account(host, account)
      after = page.at(-1)?.account.local
      if (page.length < PAGE || after === undefined) return
    }
  }

  /** false: it is not there (any more). */
  async #account (host: Host, account: Jid): Promise<boolean> {
    if (this.#talk.gone) throw new CommandError('interrupted: nothing is written')
    const stored = await host.accounts.stored(account)
    if (stored === undefined) return false
    await this.#write(`\n${startTag('user', { name: account.local })}`)
    const { created, locked, keys } = stored
    await this.#element(xml('account', { xmlns: NS.ACCOUNT, created: formatDateTime(created) },
      locked === undefined ? undefined : xml('locked', { since: formatDateTime(locked.since) }, locked.reason)))
    for (const hash of HASH_NAMES) {
      const own = keys[hash]
      if (own === undefined) continue
      await this.#element(xml('scram-credentials', { xmlns: NS.PIE_SCRAM, mechanism: `SCRAM-${hash.toUpperCase()}` },
        xml('iter-count', {}, own.iterations), xml('salt', {}, own.salt), xml('server-key', {}, own.serverKey), xml('stored-key', {}, own.storedKey)))
    }
    const parts: { readonly elements: Iterable<Element> | AsyncIterable<Element>, readonly within: Element | undefined }[] = []
    await host.hooks.fire(accountExporting, { account, add: (elements, within) => { parts.push({ elements, within }) } })
    for (const { elements, within } of parts) await this.#part(account, elements, within)
    await this.#write('\n</user>')
    if (++this.#accounts % TOLD_EVERY === 0) await this.#talk.tell({ kind: 'progress', done: 0, of: 0, text: `${this.#accounts} accounts` })
    return true
  }

  async #part (account: Jid, elements: Iterable<Element> | AsyncIterable<Element>, within: Element | undefined): Promise<void> {
    const context = within === undefined ? NS.PIE : namespaceOf(within) ?? NS.PIE
    let any = false
    for await (const element of this.#readable(elements, account)) {
      if (!any && within !== undefined) await this.#write(`\n${startTag(within.name, { xmlns: attributeOf(within, 'xmlns') })}`)
      any = true
      // What a module makes without a namespace is meant to stand in the container, in its.
      if (within !== undefined && !(element instanceof ParsedElement)) element.parent ??= within
      await this.#writeOne(account, element, context)
    }
    if (any && within !== undefined) await this.#write(`\n</${within.name}>`)
  }

  /** The elements of a part, as far as they can be read: what cannot be is told, and the other parts go on. */
  async * #readable (elements: Iterable<Element> | AsyncIterable<Element>, account: Jid): AsyncGenerator<Element> {
    try {
      yield * elements
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error
      await this.#talk.tell({ kind: 'problem', text: `${account.toString()}: left out: ${error.message}` })
    }
  }

  async #writeOne (account: Jid, element: Element, context: string): Promise<void> {
    let text
    try {
      text = octets(element, context)
    } catch (error) {
      if (!(error instanceof TypeError)) throw error
      await this.#talk.tell({ kind: 'problem', text: `${account.toString()}: a <${localName(element)}/> is left out: ${error.message}` })
      return
    }
    await this.#write(`\n${text}`)
  }

  async #element (element: Element): Promise<void> {
    await this.#write(`\n${octets(element, NS.PIE)}`)
  }

  /** Octets, one character a byte. */
  async #write (text: string): Promise<void> {
    this.#text += text
    if (this.#text.length >= GATHERED) await this.#flush()
  }

  async #flush (): Promise<void> {
    const bytes = Buffer.from(this.#text, 'latin1')
    this.#text = ''
    await this.#handle.writeFile(bytes)
  }
}
