/** XEP-0363 HTTP File Upload: people send files to a domain of its own, and others read them there. */
import { join } from 'node:path'
import { domainToASCII } from 'node:url'
import {
  accountLeaving, defineModule, discovery, hostRaised, NS, setting, StanzaError,
} from '../../lib/api.js'
import type { Element, ModuleHost, Request, WebRoute } from '../../lib/api.js'
import { Commands } from './commands.js'
import { Disk } from './disk.js'
import { DAY, Quota } from './quota.js'
import { Receiving } from './receiving.js'
import { readRequest, sizeForm, slotElement } from './requests.js'
import { Retention } from './retention.js'
import { Rules } from './rules.js'
import { Serving } from './serving.js'
import { Signatures } from './signature.js'
import { Stock } from './stock.js'
import { uploadStores, type Upload, type UploadStores } from './uploads.js'

const BYTES = { min: '1KiB', max: '1000TiB' } as const

export default defineModule({
  name: 'upload',
  about: 'Takes files of users over HTTP at a domain of its own, and gives them to whoever has their address.',
  at: 'services',
  xeps: ['0363 v1.2.0'],
  requires: ['disco'],
  settings: {
    maxFileSize: setting.size(BYTES).default('100MiB').says('The largest file.'),
    types: setting.list(setting.text({ max: 100 }), { max: 100 }).default([]).says('The media types that are accepted, such as "image/*" or "application/pdf". By default all: an encrypted file has none that says something.'),
    bytesPerAccount: setting.size(BYTES).default('2GiB').says('The most bytes of the files of one account, those for profiles and permanent ones excepted.'),
    filesPerAccount: setting.count({ min: 1, max: 1_000_000 }).default(10_000).says('The most files of one account.'),
    bytesPerDay: setting.size(BYTES).default('1GiB').says('The most bytes that one account may send within 24 hours.'),
    filesPerDay: setting.count({ min: 1, max: 100_000 }).default(500).says('The most files that one account may send within 24 hours.'),
    bytes: setting.size({ min: '1MiB', max: '1000TiB' }).default('20GiB').says('The most bytes of all files. With more, the oldest are removed.'),
    expire: setting.duration({ min: '1h', max: '100y' }).default('90d').says('How long a file is kept, those for profiles and permanent ones excepted.'),
    profileFileSize: setting.size(BYTES).default('5MiB').says('The largest file for a profile, such as a picture of its owner. These are kept as long as the account.'),
    profileBytes: setting.size(BYTES).default('20MiB').says('The most bytes of the profile files of one account.'),
    permanentBytes: setting.optional(setting.size(BYTES)).says('The most bytes that one account may keep as long as the account is there, for clients that ask for it. Left out: nothing.'),
    slotTimeout: setting.duration({ min: '10s', max: '1d' }).default('5m').says('How long after its request a client may begin to send a file.'),
    folder: setting.optional(setting.path()).says('The folder of the files; each domain has its own in it. By default "upload" in the data folder.'),
    url: setting.optional(setting.webOrigin()).says('The address of the files, such as "https://files.example.org", if it is another than that of the [[listen]] for the web.'),
  },
  stores: uploadStores,
  counts: {
    slots: 'Slots that were given.',
    refused: 'Requests for a slot that were refused because of a quota.',
    received: 'Files that were received.',
    broken: 'Files whose sender went away before the end.',
    removed: 'Files that were removed because of their age, or to make room.',
  },

  setup (host) {
    const { settings, stores, clock, log, domain } = host
    const rules = new Rules(settings)
    const files = new Disk(join(settings.folder ?? join(host.dataFolder, 'upload'), domain))
    const stock = new Stock({ domain, clock, log, stores, files, batch: () => host.batch() })
    const signatures = new Signatures(stores.secret, domain)
    const receiving = new Receiving({ clock, log, stock, rules, signatures, count: metric => { host.count(metric) } })
    const retention = new Retention({
      clock, log, stock, rules, day: stores.day,
      isComing: id => receiving.isComing(id),
      count: metric => { host.count(metric) },
    })
    const addresses = new Addresses(host, settings.url)

    showService(host, rules, addresses)
    const quota = new Quota(stores, rules, domain)
    const slots = new Slots({ host, rules, stock, quota, signatures, addresses, stores })
    host.iq.get('host', NS.UPLOAD, 'request', request => slots.give(request))
    for (const route of routesOf(addresses.path, receiving, new Serving(stock, clock), rules)) host.web(route)
    host.on(hostRaised, async () => {
      await signatures.prepare()
      await stock.recover()
    }, 'observe')
    host.on(accountLeaving, async ({ account, batch }) => {
      receiving.stop(account.toString())
      await stock.removeAccount(account.toString(), batch)
    }, 'record')
    host.whileUp(() => {
      retention.start()
      return () => { retention.stop() }
    })
    const commands = new Commands(stock, stores.uploads, upload => addresses.of(upload))
    host.command('upload list', args => commands.list(args))
    host.command('upload remove', args => commands.remove(args))
  },
})

/** The addresses of files. */
class Addresses {
  /** The path before that of a file. */
  readonly path: string
  readonly #host: Pick<ModuleHost, 'webOrigins'>
  readonly #url: string | undefined

  constructor (host: Pick<ModuleHost, 'webOrigins' | 'domain'>, url: string | undefined) {
    this.#host = host
    this.#url = url
    this.path = `/upload/${domainToASCII(host.domain) || host.domain}`
  }

  /** True if clients can reach the service. */
  get areKnown (): boolean { return this.#origin !== undefined }

  /** Returns the address of a slot or file; undefined if the web of this host is not known. */
  of ({ id, name }: Pick<Upload, 'id' | 'name'>): string | undefined {
    const origin = this.#origin
    return origin === undefined ? undefined : `${origin}${this.path}/${id}/${encodeURIComponent(name)}`
  }

  get #origin (): string | undefined { return this.#url ?? this.#host.webOrigins[0] }
}

interface SlotDeps {
  readonly host: Pick<ModuleHost, 'clock' | 'ids' | 'router'> & { count (metric: 'slots' | 'refused'): void }
  readonly rules: Rules
  readonly stock: Stock
  readonly quota: Quota
  readonly signatures: Signatures
  readonly addresses: Addresses
  readonly stores: UploadStores
}

class Slots {
  readonly #deps: SlotDeps

  constructor (deps: SlotDeps) { this.#deps = deps }

  /** Answers a request for a slot (XEP-0363 §4). What it promises is stored with the request. */
  async give ({ stanza: { from }, payload, batch }: Request): Promise<Element> {
    const { host, rules, stock, quota, signatures, addresses, stores } = this.#deps
    if (from.local === '' || !host.router.serves(from.domain)) throw new StanzaError('forbidden', 'only for users of this server')
    const now = host.clock.now()
    const wanted = readRequest(payload, rules, now)
    const account = from.bare.toString()
    const owner = stock.ownerOf(account)
    // The next request of the account sees what this one takes.
    const leave = await stock.lanes.enter(owner)
    batch.committed(leave)
    batch.failed(leave)
    if (stock.isLeaving(owner)) throw new StanzaError('forbidden')
    try {
      await quota.check(owner, wanted, now)
    } catch (error) {
      if (error instanceof StanzaError) host.count('refused')
      throw error
    }
    const id = host.ids.next()
    const until = now + rules.settings.slotTimeout
    const url = addresses.of({ id, name: wanted.name })
    if (url === undefined) throw new StanzaError('service-unavailable')
    batch.add(stores.uploads.putting(owner, id, { ...wanted, id, account, state: 'slot', made: now, due: until }))
    batch.add(stores.day.putting(owner, id, { size: wanted.size, due: now + DAY }))
    host.count('slots')
    return slotElement({ url, authorization: await signatures.sign({ id, account, until }) })
  }
}

/** Shows the service as long as clients can reach it. */
function showService (host: ModuleHost, rules: Rules, addresses: Addresses): void {
  host.whileUp(() => {
    const disco = host.use(discovery)
    const features = [NS.UPLOAD, ...rules.purposes.map(purpose => `${NS.UPLOAD_PURPOSE}#${purpose}`)]
    const added = [
      disco.identity({ category: 'store', type: 'file', name: 'HTTP File Upload' }),
      disco.feature('host', () => addresses.areKnown ? features : []),
      disco.form(() => addresses.areKnown ? sizeForm(rules) : undefined),
    ]
    return () => { for (const remove of added) remove() }
  })
}

/** XEP-0363 §8: scripts of all pages may send and read files. */
function routesOf (path: string, receiving: Receiving, serving: Serving, rules: Rules): readonly WebRoute[] {
  const file = { path: `${path}/:id/:name`, crossOrigin: { headers: ['Authorization', 'Content-Type'] } }
  return [
    {
      ...file,
      method: 'PUT',
      callers: request => receiving.mayCall(request),
      largestBody: Math.max(...rules.purposes.map(purpose => rules.largest(purpose))),
      answer: request => receiving.answer(request),
    },
    { ...file, method: 'GET', callers: 'anybody', answer: request => serving.answer(request) },
  ]
}
