/** A person who talks to a real server, and notes in a word or two what arrives. */
import { createHmac } from 'node:crypto'
import type { Element } from '../../lib/xml/element.js'
import { Line, PASSWORD } from '../crash/line.js'
import { SM } from '../stanzas.js'

const SASL2 = 'urn:xmpp:sasl:2'
const AGENT = 'd4565fa7-4d72-4749-b3d3-740edbf87770'
const base64 = (text: string | Buffer): string => Buffer.from(text).toString('base64')

/**
 * The state from which a session is resumed: its id, the number of stanzas that its device received (`h`), and the
 * number that it sent (`said`).
 */
export interface Resumable { readonly user: string, readonly id: string, readonly h: number, readonly said: number }

export class Person {
  readonly user: string
  readonly #line: Line
  /** Each stanza that arrived, in words. */
  readonly got: string[] = []
  #id = ''
  /** The number of stanzas that its device received before this connection. */
  #before = 0
  /** The numbers of stanzas that it has acknowledged on this connection, and sent. */
  #acked = 0
  #said = 0
  #asked = 0

  private constructor (user: string, line: Line) {
    this.user = user
    this.#line = line
  }

  /** Logs in by password, and binds this resource. */
  static async arrives (port: number, user: string, resource: string): Promise<Person> {
    const person = new Person(user, await Line.login(port, user))
    await person.asks(`<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>${resource}</resource></bind>`)
    person.got.length = 0
    return person
  }

  /** Logs in by password, and resumes a session. Throws if the session cannot be resumed. */
  static async returns (port: number, { user, id, h, said }: Resumable): Promise<Person> {
    const line = await Line.login(port, user)
    line.send(`<resume ${SM} previd='${id}' h='${h}'/>`)
    const answer = await line.next()
    if (answer.name !== 'resumed') throw new Error(`${user} could not resume: ${answer.toString()}`)
    if (answer.attrs['h'] !== String(said)) throw new Error(`${user} has sent ${said} stanzas, and got ${answer.toString()}`)
    const person = new Person(user, line)
    person.#before = h
    return person
  }

  /** Logs in by password within TLS, and returns a token for the next login (XEP-0484). */
  static async isGivenToken (port: number, user: string): Promise<string> {
    const answer = await enter(port, 'PLAIN', base64(`\0${user}\0${PASSWORD}`), "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>")
    const token = answer.getChild('token', 'urn:xmpp:fast:0')?.attrs['token'] as unknown
    if (typeof token !== 'string') throw new Error(`no token in ${answer.toString()}`)
    return token
  }

  /** Resolves with true if this token logs the user in. */
  static async entersBy (port: number, user: string, token: string): Promise<boolean> {
    const proof = createHmac('sha256', token).update('Initiator').digest()
    const answer = await enter(port, 'HT-SHA-256-NONE', base64(Buffer.concat([Buffer.from(`${user}\0`), proof])), "<fast xmlns='urn:xmpp:fast:0'/>")
    return answer.name === 'success'
  }

  /** Enables stream management, so that its session can be resumed. */
  async isManaged (): Promise<void> {
    this.#line.send(`<enable ${SM} resume='true'/>`)
    const enabled = await this.#line.next()
    this.#id = String(enabled.attrs['id'])
    this.got.length = this.#said = 0
  }

  /** Sends stanzas, and waits until the server has stored them. */
  async says (...stanzas: readonly string[]): Promise<void> {
    this.#said += stanzas.length
    this.#line.send(`${stanzas.join('')}<r ${SM}/>`)
    await this.#until(element => element.name === 'a')
  }

  /** Sends a request and returns the answer, which is not stored. */
  async asks (payload: string, type: 'get' | 'set' = 'set'): Promise<Element> {
    const id = `q${++this.#asked}`
    this.#said++
    this.#line.send(`<iq type='${type}' id='${id}'>${payload}</iq>`)
    const answer = await this.#until(({ name, attrs }) => name === 'iq' && attrs['id'] === id)
    if (answer.attrs['type'] !== 'result') throw new Error(`${payload} was answered with ${answer.toString()}`)
    return answer
  }

  /** Waits for a stanza with these words. */
  async gets (words: string): Promise<void> {
    while (!this.got.includes(words)) await this.#until(isStanza)
  }

  /** Acknowledges all that arrived so far. */
  acknowledges (): void {
    this.#acked = this.got.length
    this.#line.send(`<a ${SM} h='${this.#before + this.#acked}'/>`)
  }

  /** The state to resume from if the device received only the stanzas that it acknowledged. */
  get resumable (): Resumable { return { user: this.user, id: this.#id, h: this.#acked, said: this.#said } }
  /** The stanzas that arrived and are not acknowledged. */
  get unacknowledged (): readonly string[] { return this.got.slice(this.#acked) }

  async loses (): Promise<void> {
    this.#line.cut()
    await this.#line.gone
  }

  async leaves (): Promise<void> {
    this.#line.send('</stream:stream>')
    await this.#line.gone
  }

  async #until (isIt: (element: Element) => boolean): Promise<Element> {
    for (;;) {
      const element = await this.#line.next()
      if (isStanza(element)) this.got.push(wordsOf(element))
      if (isIt(element)) return element
    }
  }
}

/** Sends one element that logs in (XEP-0388) on a connection of its own, and returns the answer. */
async function enter (port: number, mechanism: string, initial: string, more: string): Promise<Element> {
  const line = await Line.open(port, { isEncrypted: true })
  line.send(`<authenticate xmlns='${SASL2}' mechanism='${mechanism}'><initial-response>${initial}</initial-response>` +
    `<user-agent id='${AGENT}'><software>Verona</software><device>a phone</device></user-agent>${more}</authenticate>`)
  const answer = await line.next()
  line.cut()
  return answer
}

function isStanza ({ name }: Element): boolean { return ['message', 'presence', 'iq'].includes(name) }

/** Returns words such as "message O Romeo", "presence unavailable", "carbon sent O Romeo", "archived O Romeo". */
function wordsOf (element: Element): string {
  for (const [name, copied] of [['carbon', element.getChild('sent') ?? element.getChild('received')], ['archived', element.getChild('result')]] as const) {
    const text = copied?.getChild('forwarded')?.getChild('message')?.getChildText('body')
    if (text !== undefined) return `${name} ${text}`
  }
  const [first] = element.children.filter(child => typeof child !== 'string')
  const what = element.getChildText('body') ?? (element.attrs['type'] as string | undefined) ?? first?.name ?? ''
  return `${element.name} ${what}`.trim()
}
