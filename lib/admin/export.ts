/**
 * Writes accounts into a file that other servers can read (XEP-0227): their keys, and what each module stores for them.
 */
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
import { pagesOf } from './account-pages.js'
import { CommandError, type Operator } from './talk.js'

/** The number of accounts that are read at a time. */
const PAGE = 200
/** The number of elements between two progress reports. */
const TOLD_EVERY = 200
/** The number of bytes that are gathered before a write. */
const GATHERED = 262_144

/**
 * Exports the hosts and accounts in `wanted`, or all if it is empty, to a new file that only its owner can read.
 * Returns the number of accounts. Throws CommandError if the file exists already.
 */
export async function exportAccounts (
  server: Server, file: string, wanted: readonly string[], talk: Operator,
): Promise<number> {
  const hosts = hostsOf(server, wanted)
  const part = `${file}.part`
  const handle = await created(part)
  try {
    const count = await new Export(handle, talk, await countOf(hosts)).run(hosts)
    await handle.sync()
    // Fails if the file exists by now: an export never overwrites a file.
    linkSync(part, file)
    return count
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') throw new CommandError(`${file} exists already`, { cause: error })
    throw error
  } finally {
    await handle.close()
    rmSync(part, { force: true })
  }
}

async function created (part: string): Promise<FileHandle> {
  rmSync(part, { force: true }) // left by an interrupted export
  try {
    return await open(part, 'wx', 0o600)
  } catch (error) {
    throw new CommandError(`${part} cannot be written: ${error instanceof Error ? error.message : ''}`, { cause: error })
  }
}

type Wanted = readonly { readonly host: Host, readonly account: Jid | undefined }[]

function hostsOf (server: Server, wanted: readonly string[]): Wanted {
  const all = server.hosts.filter(host => !host.isService)
  if (wanted.length === 0) return all.map(host => ({ host, account: undefined }))
  return wanted.map(text => {
    const jid = parseJid(text).bare
    const host = server.hostOf(jid)
    if (host === undefined) throw new CommandError(`${jid.domain} is not a host of this server that has accounts`)
    return { host, account: jid.local === '' ? undefined : jid }
  })
}

/** The number of accounts that an export will write, as far as nobody adds or removes any meanwhile. */
async function countOf (wanted: Wanted): Promise<number> {
  let count = 0
  for (const { host, account } of wanted) {
    if (account !== undefined) count++
    else for await (const page of pagesOf(host, PAGE)) count += page.length
  }
  return count
}

/** The elements that a module adds for an account. */
type Elements = Iterable<Element> | AsyncIterable<Element>

class Export {
  readonly #handle: FileHandle
  readonly #talk: Operator
  readonly #total: number
  #text = ''
  #accounts = 0
  #elements = 0

  /** `total`: the number of accounts that are expected, for the progress. */
  constructor (handle: FileHandle, talk: Operator, total: number) {
    this.#handle = handle
    this.#talk = talk
    this.#total = total
  }

  async run (wanted: Wanted): Promise<number> {
    // Stored stanzas may use the prefix `stream`, because it is bound in a client's stream.
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
    for await (const page of pagesOf(host, PAGE)) for (const { account } of page) await this.#account(host, account)
  }

  /** Writes one account. Returns false if it does not exist (any more). */
  async #account (host: Host, account: Jid): Promise<boolean> {
    if (this.#talk.gone) throw new CommandError('interrupted: no file was written')
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
    const parts: { readonly elements: Elements, readonly within: Element | undefined }[] = []
    const add = (elements: Elements, within?: Element): void => { parts.push({ elements, within }) }
    await host.hooks.fire(accountExporting, { account, add })
    for (const { elements, within } of parts) await this.#part(account, elements, within)
    await this.#write('\n</user>')
    this.#accounts++
    return true
  }

  async #tell (): Promise<void> {
    const [done, of] = [this.#accounts, Math.max(this.#accounts, this.#total)]
    await this.#talk.tell({ kind: 'progress', done, of, text: `${done} of ${of} accounts, ${this.#elements} elements` })
  }

  async #part (account: Jid, elements: Elements, within: Element | undefined): Promise<void> {
    const context = within === undefined ? NS.PIE : namespaceOf(within) ?? NS.PIE
    let any = false
    for await (const element of this.#readable(elements, account)) {
      if (!any && within !== undefined) await this.#write(`\n${startTag(within.name, { xmlns: attributeOf(within, 'xmlns') })}`)
      any = true
      // An element that a module makes without a namespace belongs to the container, and has the container's namespace.
      if (within !== undefined && !(element instanceof ParsedElement)) element.parent ??= within
      await this.#writeOne(account, element, context)
    }
    if (any && within !== undefined) await this.#write(`\n</${within.name}>`)
  }

  /**
   * Yields the elements of a part until one cannot be read. That is reported, and the other parts are still written.
   */
  async * #readable (elements: Elements, account: Jid): AsyncGenerator<Element> {
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
    await this.#counted()
  }

  async #element (element: Element): Promise<void> {
    await this.#write(`\n${octets(element, NS.PIE)}`)
    await this.#counted()
  }

  async #counted (): Promise<void> {
    if (++this.#elements % TOLD_EVERY === 0) await this.#tell()
  }

  /** Adds text to the file. Each character of the text is one byte. */
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
