/** A server, four phones of two accounts, and the promises to them: played step by step, and checked in the end. */
import { defineModule, messageArriving } from '../../lib/api.js'
import { journal } from '../../lib/storage/store.js'
import { parseElement } from '../parse.js'
import type { AnyModule } from '../../lib/host/module.js'
import { startServer, type Scene, type Scenario } from '../scenario.js'
import type { Heard } from './history.js'
import { Phone, type Chain, type Manner } from './phone.js'

const KINDS = [
  'say', 'say', 'say', 'say to one', 'say to one', 'type', 'type', 'ask', 'ack', 'ack', 'half', 'cut', 'cut', 'fade', 'resume', 'resume',
  'takeover', 'bind', 'bind as it comes', 'close', 'pass', 'rest', 'wake', 'restart', 'kill', 'say and kill', 'slow', 'slow', 'fast',
] as const
/** More kinds of steps in a world with an archive. */
const ARCHIVE_KINDS = ['page', 'page', 'page', 'page by form', 'page and fade', 'bind inline', 'bind plainly', 'bind plainly', 'bind plainly as it comes'] as const

type Kind = typeof KINDS[number] | typeof ARCHIVE_KINDS[number]

/** One step: something happens to this phone, or to all. `minutes`: for steps in which time passes. */
export interface Step { readonly kind: Kind, readonly phone: number, readonly minutes: number }

/**
 * The worlds, and the steps that each has. In 'archive' the offline store is small, as archived messages need not be
 * stored there.
 */
export const WORLDS = {
  sessions: { kinds: KINDS, modules: [], offline: { keep: 10_000 } },
  archive: { kinds: [...KINDS, ...ARCHIVE_KINDS], modules: ['mam'], offline: { keep: 3 } },
} as const
export type WorldName = keyof typeof WORLDS

interface Sent {
  readonly from: Phone
  readonly to: string
  /** The sessions that existed when the message was sent: those of the recipient, and the sender's other ones. */
  readonly audience: readonly Chain[]
  /** False if the sender does not know whether the message was handled. */
  isSure: boolean
}

/** By account: the promise that messages to it wait for. */
type Slow = Map<string, { readonly wait: Promise<void>, readonly end: () => void }>

/** Makes a module that delays messages by those promises. */
function slowness (slow: Slow): AnyModule {
  return defineModule({
    name: 'slow',
    about: 'Has messages wait, for tests.',
    setup (host) { host.on(messageArriving, ({ account }) => slow.get(account.toString())?.wait, 'screen') },
  })
}

const COMPOSING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
const CSI = "xmlns='urn:xmpp:csi:0'"
const ROMEO = 'romeo@montague.lit'
const JULIET = 'juliet@capulet.lit'
/** More than the number of messages. */
const ALL = 100_000

export class World {
  #s: Scenario
  readonly #scene: Scene
  readonly #hasArchive: boolean
  readonly #phones = [new Phone(ROMEO, 'one'), new Phone(ROMEO, 'two'), new Phone(JULIET, 'one'), new Phone(JULIET, 'two')]
  readonly #sent: Sent[] = []
  #lives = 0
  #step = 0
  readonly #chains: { readonly chain: Chain, readonly born: number }[] = []
  /** By account: the promise that messages to it wait for. */
  readonly #slow: Slow
  /** The phone whose presence is about to be sent. */
  #coming: Phone | undefined
  /** The step in which the first device of an account acknowledged a message, by account and message. */
  readonly #confirmed = new Map<string, number>()

  private constructor (name: WorldName, { scene, slow }: { readonly scene: Scene, readonly slow: Slow }, s: Scenario) {
    this.#hasArchive = name === 'archive'
    this.#scene = scene
    this.#slow = slow
    this.#s = s
  }

  static async begin (name: WorldName): Promise<World> {
    const { modules, offline } = WORLDS[name]
    const slow: Slow = new Map()
    const scene = {
      modules: ['presence', 'message', 'carbons', 'offline', 'stream-management', 'csi', ...modules, slowness(slow)],
      hosts: ['montague.lit', 'capulet.lit'],
      settings: { 'stream-management': { ackTimeout: '1h' }, offline },
    }
    const world = new World(name, { scene, slow }, await startServer(scene))
    for (const phone of world.#phones) await world.#binds(phone, 'managed')
    return world
  }

  async play (step: Step): Promise<void> {
    this.#step++
    await this.#play(step)
    await this.#s.settled()
    for (const phone of this.#phones) {
      phone.reads()
      phone.trusts()
      this.#note(phone)
    }
  }

  async #play ({ kind, phone: index, minutes }: Step): Promise<void> {
    const phone = this.#phones[index] as Phone
    const isOn = phone.state === 'on'
    switch (kind) {
      case 'bind': await this.#binds(phone, 'managed'); return
      case 'bind inline': await this.#binds(phone, 'inline'); return
      case 'bind as it comes': await this.#bindAsItComes(phone, 'managed', minutes); return
      case 'bind plainly as it comes': await this.#bindAsItComes(phone, 'plain', minutes); return
      case 'bind plainly': await this.#binds(phone, 'plain'); return
      case 'resume': if (phone.state === 'cut') await this.#resume(phone); return
      case 'pass': await this.#s.pass(`${minutes}m`); return
      case 'slow': this.#slows(phone.account); return
      case 'fast': this.#hurries(); return
      case 'restart': await this.#restart(); return
      case 'kill': await this.#kill(); return
      case 'say and kill': await this.#sayAndKill(phone); return
      default: if (isOn) await this.#does(phone, kind, minutes)
    }
  }

  async #does (phone: Phone, kind: Kind, minutes: number): Promise<void> {
    switch (kind) {
      case 'say': await this.#say(phone, this.#other(phone)); break
      case 'say to one': await this.#say(phone, `${this.#other(phone)}/${minutes % 2 === 0 ? 'one' : 'two'}`); break
      case 'type': await phone.posts(`<message to='${this.#other(phone)}' type='chat'>${COMPOSING}</message>`); break
      case 'ask': await phone.asks(); break
      case 'ack': await phone.acknowledges(1); break
      case 'half': await phone.acknowledges(0.5); break
      case 'cut': await this.#cut(phone); break
      case 'fade': this.#fade(phone); break
      case 'takeover': if (phone.chain?.isManaged === true) await this.#resume(phone); break
      case 'close': this.#close(phone); break
      case 'rest': await phone.says(`<inactive ${CSI}/>`); break
      case 'wake': await phone.says(`<active ${CSI}/>`); break
      case 'page': await phone.posts(phone.history.asks('page')); break
      case 'page by form': await phone.posts(phone.history.asks('form')); break
      case 'page and fade':
        await phone.posts(phone.history.asks('page'))
        this.#fade(phone)
    }
  }

  /** Brings all phones back online, then checks every promise. */
  async end (): Promise<void> {
    this.#step++
    this.#hurries()
    await this.#s.settled()
    for (const phone of this.#phones) {
      if (phone.state === 'cut') await this.#resume(phone)
      if (phone.state === 'off') await this.#binds(phone, 'managed')
    }
    for (const phone of this.#phones) {
      await phone.says(`<active ${CSI}/>`)
      if (this.#hasArchive) await this.#catchUp(phone)
      await phone.asks()
      phone.reads()
      phone.trusts()
      this.#doubt(phone.unsure)
    }
    const archives = this.#hasArchive
      ? [await this.#archiveOf(ROMEO), await this.#archiveOf(JULIET)] as const
      : undefined
    await this.#s.end()
    this.#checkSessions()
    if (archives !== undefined) this.#checkArchives(...archives)
  }

  // ---- The promises -----------------------------------------------------------------------------------

  #checkSessions (): void {
    for (const { chain: { account, got }, born } of this.#chains) {
      const numbers = got.map(({ message }) => message)
      if (new Set(numbers).size !== numbers.length) throw new Error(`twice to ${account}: ${numbers.join(' ')}`)
      for (const phone of this.#phones) {
        const isFresh = ({ message, isLate }: Heard): boolean => !isLate && this.#sentBy(message).from === phone
        const list = got.filter(isFresh).map(({ message }) => message)
        if (!isAscending(list)) throw new Error(`out of order to ${account}: ${list.join(' ')}`)
      }
      const again = numbers.find(message => (this.#confirmed.get(`${account} ${message}`) ?? born) < born)
      if (again !== undefined) throw new Error(`${again} came to ${account} again, although one device had acknowledged it`)
    }
    this.#sent.forEach(({ to, audience, isSure }, message) => {
      if (!isSure) return
      const missing = audience.find(({ isAlive, got }) => isAlive && !got.some(heard => heard.message === message))
      if (missing !== undefined) throw new Error(`${message} did not reach a session of ${missing.account} that was there`)
      const own = this.#chains.filter(({ chain }) => chain.account === to)
      const isHere = own.some(({ chain: { got } }) => got.some(heard => heard.message === message))
      if (!this.#hasArchive && !isHere) throw new Error(`${message} is lost`)
    })
  }

  /** Checks the archives: for each account, messages by id, in the order of the archive. */
  #checkArchives (...archives: readonly [ReadonlyMap<string, number>, ReadonlyMap<string, number>]): void {
    const [romeos, juliets] = [new Set(archives[0].values()), new Set(archives[1].values())]
    this.#sent.forEach(({ isSure }, message) => {
      const isThere = romeos.has(message)
      if (isThere !== juliets.has(message)) throw new Error(`${message} is in one archive of two`)
      if (isSure && !isThere) throw new Error(`${message} is in no archive`)
    })
    ;[ROMEO, JULIET].forEach((account, index) => { this.#checkArchive(account, archives[index] ?? new Map()) })
  }

  #checkArchive (account: string, archive: ReadonlyMap<string, number>): void {
    const all = [...archive.values()]
    if (new Set(all).size !== all.length) throw new Error(`archived twice for ${account}: ${all.join(' ')}`)
    for (const phone of this.#phones) {
      const own = all.filter(message => this.#sentBy(message).from === phone)
      if (!isAscending(own)) throw new Error(`archived out of order for ${account}: ${own.join(' ')}`)
    }
    const order = new Map([...archive.keys()].map((id, index) => [id, index]))
    const isInOrder = (ids: readonly (string | undefined)[]): boolean => isAscending(ids.map(id => order.get(id ?? '') ?? NaN))
    for (const { history, resource } of this.#phones.filter(phone => phone.account === account)) {
      const lacking = all.find(message => !history.known.has(message))
      if (lacking !== undefined) throw new Error(`${account}/${resource} has paged to the end and lacks ${lacking}`)
      if (!isInOrder(history.paged)) throw new Error(`${account}/${resource} has got pages of ${history.paged.join(' ')}`)
    }
    for (const { chain: { got } } of this.#chains.filter(({ chain }) => chain.account === account)) {
      const stranger = got.find(({ message, id }) => archive.get(id ?? '') !== message)
      if (stranger !== undefined) throw new Error(`${account} got ${stranger.message} as ${String(stranger.id)}, which is not in its archive`)
      const fresh = got.flatMap(({ id, isLate }) => isLate ? [] : id)
      if (!isInOrder(fresh)) throw new Error(`${account} got messages in another order than the archive has`)
    }
  }

  #sentBy (message: number): Sent {
    const sent = this.#sent[message]
    if (sent === undefined) throw new Error(`nobody has sent ${message}`)
    return sent
  }

  // ---- The steps --------------------------------------------------------------------------------------

  #other (phone: Phone): string { return phone.account === ROMEO ? JULIET : ROMEO }

  async #say (phone: Phone, to: string): Promise<void> {
    const other = this.#other(phone)
    const message = this.#sent.length
    // An archived message may find the offline store full, and so miss a device whose presence has not come yet.
    const absent = this.#hasArchive ? this.#coming : undefined
    const others = this.#phones.filter(other => other !== phone && other !== absent)
    const audience = others.flatMap(({ chain }) => chain?.isAlive === true ? [chain] : [])
    this.#sent.push({ from: phone, to: other, audience, isSure: true })
    await phone.posts(`<message to='${to}' type='chat'><body>${message}</body></message>`, message)
  }

  #doubt (messages: readonly number[]): void {
    for (const message of messages) this.#sentBy(message).isSure = false
  }

  #note ({ account, chain }: Phone): void {
    if (chain === undefined) return
    for (const { message } of chain.got.slice(0, chain.confirmed)) {
      const key = `${account} ${message}`
      if (!this.#confirmed.has(key)) this.#confirmed.set(key, this.#step)
    }
  }

  async #bind (phone: Phone, manner: Manner, meanwhile?: () => Promise<void>): Promise<void> {
    phone.reads()
    // A login that reports the end of the archive waits for delayed messages to its account.
    this.#hurries()
    await this.#s.settled()
    this.#doubt(await phone.bind(this.#s, manner, meanwhile))
    this.#chains.push({ chain: phone.chain as Chain, born: this.#step })
  }

  /** Binds, and waits until the session is stored. */
  async #binds (phone: Phone, manner: Manner): Promise<void> {
    await this.#bind(phone, manner)
    await this.#s.pass('1s')
  }

  /** Binds while messages to its account are being stored, or wait for a read from storage, as its presence comes. */
  async #bindAsItComes (phone: Phone, manner: Manner, minutes: number): Promise<void> {
    const { storage } = this.#s
    const sender = this.#phones.find(other => other.account !== phone.account && other.state === 'on')
    const isRead = minutes % 2 === 0
    await this.#bind(phone, manner, async () => {
      this.#coming = phone
      if (isRead) storage.holdReads()
      else storage.hold()
      if (sender !== undefined) for (let said = 0; said <= minutes % 3; said++) await this.#say(sender, phone.account)
    })
    this.#coming = undefined
    // A message sent after the presence comes after all those.
    if (sender !== undefined) await this.#say(sender, phone.account)
    if (minutes % 5 === 0) storage[isRead ? 'hold' : 'holdReads']()
    storage[isRead ? 'releaseReads' : 'release']()
    await this.#s.settled()
    storage.release()
    storage.releaseReads()
    for (let rounds = 0; rounds < 3; rounds++) await this.#s.settled()
    await this.#s.pass('1s')
  }

  async #cut (phone: Phone): Promise<void> {
    phone.reads()
    const { device } = phone
    this.#fade(phone)
    await device?.loses('connection')
  }

  #fade (phone: Phone): void { this.#doubt(phone.fades()) }

  async #resume (phone: Phone): Promise<void> {
    // A resumption reports how many stanzas were handled, and a requested page waits for delayed messages to its
    // account.
    this.#hurries()
    await this.#s.settled()
    await this.#s.pass('1s') // stanzas of its device no longer wait
    if (await phone.resumes(this.#s)) return
    this.#doubt(phone.over())
  }

  #close (phone: Phone): void {
    phone.reads()
    const { device } = phone
    this.#doubt(phone.over())
    device?.session.close()
  }

  async #catchUp (phone: Phone): Promise<void> {
    phone.reads()
    for (let pages = 0; !phone.history.isCaughtUp; pages++) {
      if (pages > this.#sent.length) throw new Error(`${phone.account} does not reach the end of its archive`)
      await phone.posts(phone.history.asks('page'))
      phone.reads()
    }
  }

  async #archiveOf (account: string): Promise<ReadonlyMap<string, number>> {
    const store = await this.#s.storage.open('mam.messages', journal<string>(1))
    const { entries } = await store.page(account, { limit: ALL })
    const found = new Map(entries.map(({ id, value }) => [id, Number(parseElement(value).getChildText('body'))]))
    if (found.size !== entries.length) throw new Error(`an id is there twice for ${account}`)
    return found
  }

  /** Delays messages to the account until `#hurries`; their senders wait for a second. */
  #slows (account: string): void {
    if (this.#slow.has(account)) return
    let end = (): void => {}
    const wait = new Promise<void>(resolve => { end = resolve })
    this.#slow.set(account, { wait, end })
  }

  #hurries (): void {
    for (const { end } of this.#slow.values()) end()
    this.#slow.clear()
  }

  async #restart (): Promise<void> {
    this.#hurries()
    await this.#s.settled()
    await this.#s.end()
    this.#leave()
    this.#s = await startServer({ ...this.#scene, storage: this.#s.storage, ids: `life-${++this.#lives}` })
  }

  async #kill (): Promise<void> {
    await this.#s.pass('1s')
    this.#leave()
    this.#slow.clear() // the process that waited is gone
    this.#s = await startServer({ ...this.#scene, storage: this.#s.storage.remains(), ids: `life-${++this.#lives}` })
    await this.#s.settled()
  }

  /** Sends a message right before a kill, so that it is neither stored nor acknowledged, and is sent again. */
  async #sayAndKill (phone: Phone): Promise<void> {
    await this.#s.pass('1s')
    this.#s.storage.hold()
    if (phone.state === 'on') await this.#say(phone, this.#other(phone))
    await this.#kill()
  }

  #leave (): void {
    for (const phone of this.#phones) {
      phone.reads()
      if (phone.state === 'on') this.#fade(phone)
    }
  }
}

function isAscending (list: readonly number[]): boolean {
  return list.every((number, index) => index === 0 || number > (list[index - 1] as number))
}
