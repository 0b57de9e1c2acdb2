/** A server, four phones of two accounts, and what was promised to them: played step by step, and looked at in the end. */
import { stand, type Scenario } from '../scenario.js'
import { Phone, type Chain } from './phone.js'

export const KINDS = [
  'say', 'say', 'say', 'say', 'type', 'type', 'ask', 'ack', 'ack', 'half', 'cut', 'cut', 'resume', 'resume', 'takeover', 'bind', 'close', 'pass',
  'restart', 'kill', 'say and kill',
] as const

/** Something happens to this phone, or to all. `minutes`: how long, where time passes. */
export interface Step { readonly kind: typeof KINDS[number], readonly phone: number, readonly minutes: number }

interface Sent {
  readonly to: string
  /** The sessions that were there when it was taken. */
  readonly audience: readonly Chain[]
  /** undefined: whether it was taken is not known to who sent it. */
  isSure: boolean
}

const SCENE = {
  modules: ['presence', 'message', 'carbons', 'offline', 'stream-management'],
  hosts: ['montague.lit', 'capulet.lit'],
  settings: { 'stream-management': { patience: '1h' }, offline: { keep: 10_000 } },
}
const COMPOSING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
const ROMEO = 'romeo@montague.lit'
const JULIET = 'juliet@capulet.lit'

export class World {
  #s: Scenario
  readonly #phones = [new Phone(ROMEO, 'one'), new Phone(ROMEO, 'two'), new Phone(JULIET, 'one'), new Phone(JULIET, 'two')]
  readonly #sent: Sent[] = []
  #lives = 0
  readonly #chains: Chain[] = []

  private constructor (s: Scenario) { this.#s = s }

  static async begin (): Promise<World> {
    const world = new World(await stand(SCENE))
    for (const phone of world.#phones) await world.#bind(phone)
    return world
  }

  async play ({ kind, phone: index, minutes }: Step): Promise<void> {
    const phone = this.#phones[index] as Phone
    const isOn = phone.state === 'on'
    switch (kind) {
      case 'say': if (isOn) await this.#say(phone); break
      case 'type': if (isOn) await phone.posts(`<message to='${this.#other(phone)}' type='chat'>${COMPOSING}</message>`); break
      case 'ask': if (isOn) await phone.asks(); break
      case 'ack': if (isOn) await phone.acknowledges(1); break
      case 'half': if (isOn) await phone.acknowledges(0.5); break
      case 'cut': if (isOn) await this.#cut(phone); break
      case 'resume': if (phone.state === 'cut') await this.#resume(phone); break
      case 'takeover': if (isOn) await this.#resume(phone); break
      case 'bind': await this.#bind(phone); break
      case 'close': if (isOn) this.#close(phone); break
      case 'pass': await this.#s.pass(`${minutes}m`); break
      case 'restart': await this.#restart(); break
      case 'kill': await this.#kill(); break
      case 'say and kill': await this.#sayAndKill(phone)
    }
    await this.#s.settled()
    for (const one of this.#phones) one.reads()
  }

  /** Everybody comes back, and says so; then every promise is looked at. */
  async end (): Promise<void> {
    for (const phone of this.#phones) {
      if (phone.state === 'cut') await this.#resume(phone)
      if (phone.state === 'off') await this.#bind(phone)
    }
    for (const phone of this.#phones) {
      await phone.asks()
      await phone.acknowledges(1)
      this.#doubt(phone.unsure)
    }
    await this.#s.end()
    this.#check()
  }

  #check (): void {
    for (const { got } of this.#chains) {
      const from = (isRomeo: boolean): readonly number[] => got.filter(message => (this.#sent[message]?.to === JULIET) === isRomeo)
      for (const list of [from(true), from(false)]) {
        if (new Set(list).size !== list.length) throw new Error(`twice: ${list.join(' ')}`)
      }
    }
    this.#sent.forEach(({ to, audience, isSure }, message) => {
      for (const chain of audience) {
        if (chain.isAlive && isSure && !chain.got.includes(message)) throw new Error(`${message} did not reach a session of ${to} that was there`)
      }
      if (isSure && !this.#chains.some(({ account, got }) => account === to && got.includes(message))) throw new Error(`${message} is lost`)
    })
  }

  #other (phone: Phone): string { return phone.account === ROMEO ? JULIET : ROMEO }

  async #say (phone: Phone): Promise<void> {
    const to = this.#other(phone)
    const message = this.#sent.length
    const audience = this.#phones.flatMap(({ account, chain }) => account === to && chain?.isAlive === true ? [chain] : [])
    this.#sent.push({ to, audience, isSure: true })
    await phone.posts(`<message to='${to}' type='chat'><body>${message}</body></message>`, message)
  }

  #doubt (messages: readonly number[]): void {
    for (const message of messages) (this.#sent[message] as Sent).isSure = false
  }

  async #bind (phone: Phone): Promise<void> {
    phone.reads()
    this.#doubt(await phone.bind(this.#s))
    this.#chains.push(phone.chain as Chain)
    await this.#s.pass('1s') // what the session is is written down by then
  }

  async #cut (phone: Phone): Promise<void> {
    phone.reads()
    await phone.device?.loses('connection')
    phone.state = 'cut'
  }

  async #resume (phone: Phone): Promise<void> {
    if (await phone.resumes(this.#s)) return
    this.#doubt(phone.over())
  }

  #close (phone: Phone): void {
    phone.reads()
    const { device } = phone
    this.#doubt(phone.over())
    device?.session.close()
  }

  async #restart (): Promise<void> {
    await this.#s.end()
    this.#leave()
    this.#s = await stand({ ...SCENE, storage: this.#s.storage, ids: `life-${++this.#lives}` })
  }

  async #kill (): Promise<void> {
    await this.#s.pass('1s')
    this.#leave()
    this.#s = await stand({ ...SCENE, storage: this.#s.storage.remains(), ids: `life-${++this.#lives}` })
    await this.#s.settled()
  }

  /** Nothing of what is said in the last moment is stored: it was not acknowledged, and is said again. */
  async #sayAndKill (phone: Phone): Promise<void> {
    await this.#s.pass('1s')
    this.#s.storage.hold()
    if (phone.state === 'on') await this.#say(phone)
    await this.#kill()
  }

  #leave (): void {
    for (const phone of this.#phones) {
      phone.reads()
      if (phone.state === 'on') phone.state = 'cut'
    }
  }
}
