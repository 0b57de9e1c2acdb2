/**
 * Random histories of one BOSH session over connections that lose requests and responses: each payload arrives once and
 * in order, in both directions (XEP-0124 §14).
 */
import t from 'tap'
import { BoshTransport } from '../../lib/web/bosh/transport.js'
import { readHead } from '../../lib/web/bosh/head.js'
import type { Asked } from '../../lib/web/bosh/window.js'
import { FakeClock } from '../fake-clock.js'

/** A generator of numbers from 0 to 1 that gives the same for the same seed (mulberry32). */
function random (seed: number): () => number {
  let state = seed
  return () => {
    state = state + 0x6D2B79F5 | 0
    let mixed = Math.imul(state ^ state >>> 15, 1 | state)
    mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed
    return ((mixed ^ mixed >>> 14) >>> 0) / 4_294_967_296
  }
}

/** A copy of a request on a connection. */
interface Copy { readonly rid: number, isGone: boolean, isSent: boolean, isAnswered: boolean }

const FIRST = 1000
const CALLER = { address: '192.0.2.1', isSecure: true, tls: undefined }

/** A client, its session, and the connections between them. */
class History {
  readonly clock = new FakeClock()
  readonly next: () => number
  readonly transport: BoshTransport
  readonly usesAcks: boolean
  readonly size: number
  readonly bodies = new Map<number, string>()
  readonly copies: Copy[] = []
  /** The responses that the client has, by rid. */
  readonly responses = new Map<number, string>()
  /** The payloads that were sent and that arrived, in each direction. */
  readonly up = { sent: [] as string[], came: [] as string[] }
  readonly down = { sent: [] as string[] }
  firstAnswers: number[] = []
  rid = FIRST
  isReading = true
  isOver = false

  constructor (seed: number) {
    this.next = random(seed)
    const hold = seed % 3
    this.size = hold + 1
    this.usesAcks = seed % 2 === 0
    const body = `<body rid="${FIRST}" to="a" hold="${hold}" wait="60" ver="1.11" ${this.usesAcks ? 'ack="1" ' : ''}xmlns="http://jabber.org/protocol/httpbind"/>`
    this.bodies.set(FIRST, body)
    this.transport = new BoshTransport({
      clock: this.clock, caller: CALLER, sid: 's', first: readHead(Buffer.from(body)), forgotten: () => {},
    })
    this.send(FIRST)
    this.transport.open({
      data: chunk => { this.up.came.push(...[...Buffer.from(chunk).toString().matchAll(/<c n="(\d+)"/g)].map(([, n = '']) => n)) },
      drained: () => {},
      closed: () => { this.isOver = true },
    })
  }

  get outstanding (): number[] { return [...this.bodies.keys()].filter(rid => !this.responses.has(rid)) }

  /** The payloads of the responses, as far as the client has them without a gap. */
  get got (): string[] {
    const got: string[] = []
    for (let rid = FIRST; this.responses.has(rid); rid++) {
      got.push(...[...(this.responses.get(rid) ?? '').matchAll(/<s n="(\d+)"/g)].map(([, n = '']) => n))
    }
    return got
  }

  chance (share: number): boolean { return this.next() < share }

  /** Puts a copy of a request on a connection. */
  send (rid: number): void { this.copies.push({ rid, isGone: false, isSent: false, isAnswered: false }) }

  /** Makes a new request, with or without a payload. */
  ask (): void {
    const rid = ++this.rid
    let payload = ''
    // a client that polls may not ask for nothing too often
    if (this.size === 1 || this.chance(0.7)) {
      this.up.sent.push(String(this.up.sent.length))
      payload = `<c n="${this.up.sent.length - 1}" xmlns="urn:example"/>`
    }
    const complete = Math.min(...this.outstanding, rid) - 1
    const ack = this.usesAcks && complete < rid - 1 ? ` ack="${complete}"` : ''
    this.bodies.set(rid, `<body rid="${rid}" sid="s"${ack} xmlns="http://jabber.org/protocol/httpbind">${payload}</body>`)
    this.send(rid)
  }

  /** A request arrives. Its response may be lost. */
  arrive (copy: Copy): void {
    const body = Buffer.from(this.bodies.get(copy.rid) ?? '')
    copy.isSent = true
    const asked: Asked = {
      head: readHead(body), body, at: this.clock.now(),
      get isGone () { return copy.isGone },
      answer: response => {
        copy.isAnswered = true
        if (response.includes('type="error"')) return
        if (!this.firstAnswers.includes(copy.rid)) this.firstAnswers.push(copy.rid)
        if (copy.isGone || this.chance(0.2)) return
        const known = this.responses.get(copy.rid)
        if (known !== undefined && known !== response) throw new Error('two responses to one request')
        this.responses.set(copy.rid, response)
      },
    }
    this.transport.request(asked)
  }

  /** A connection breaks, before or after its request has arrived. */
  loseOne (copy: Copy | undefined): void {
    if (copy === undefined) return
    copy.isGone = true
    if (copy.isSent) this.transport.gone()
  }

  write (): void {
    this.down.sent.push(String(this.down.sent.length))
    this.transport.write(`<s n="${this.down.sent.length - 1}" xmlns="urn:example"/>`)
  }

  /** The stream stops reading, or goes on. */
  turn (): void {
    this.isReading = !this.isReading
    if (this.isReading) this.transport.resume()
    else this.transport.pause()
  }

  step (): void {
    const waiting = this.copies.filter(copy => !copy.isSent && !copy.isGone)
    const open = this.copies.filter(copy => !copy.isAnswered && !copy.isGone)
    const choice = this.next()
    const any = <T>(list: readonly T[]): T | undefined => list[Math.floor(this.next() * list.length)]
    const copy = any(waiting)
    // §14.3: a client does not run away from a lost response further than the server keeps it
    const isNear = this.rid - Math.min(...this.outstanding, this.rid) < this.size + (this.usesAcks ? 2 : 0)
    if (choice < 0.3 && this.outstanding.length < this.size && isNear) this.ask()
    else if (choice < 0.6 && copy !== undefined) this.arrive(copy)
    else if (choice < 0.7) this.loseOne(any(open))
    else if (choice < 0.85) this.write()
    else if (choice < 0.9) this.turn()
    else this.clock.pass(2500)
    this.repeat()
  }

  /** The client repeats what it has lost: a request without a response and without a connection. */
  repeat (): void {
    for (const rid of this.outstanding) {
      if (!this.copies.some(copy => copy.rid === rid && !copy.isGone && !copy.isAnswered)) this.send(rid)
    }
  }
}

const settled = async (): Promise<void> => {
  for (let n = 0; n < 3; n++) await new Promise(resolve => { setImmediate(resolve) })
}

/** Plays on until everything has arrived. Nothing is lost any more. */
async function end (history: History): Promise<void> {
  history.chance = () => false
  history.transport.resume()
  for (let n = 0; n < 200; n++) {
    if (history.outstanding.length === 0) history.ask()
    history.repeat()
    for (const copy of history.copies.filter(copy => !copy.isSent && !copy.isGone)) history.arrive(copy)
    await settled()
    history.clock.pass(2500)
    if (history.got.length === history.down.sent.length && history.up.came.length === history.up.sent.length) return
  }
}

for (let seed = 1; seed <= 60; seed++) {
  t.test(`history ${seed}: each payload arrives once and in order, and requests are answered in their order`, async t => {
    const history = new History(seed)
    for (let n = 0; n < 250; n++) {
      history.step()
      await settled()
      if (history.isOver) throw new Error('the session ended')
      const came = history.up.came
      if (came.some((payload, index) => payload !== history.up.sent[index])) throw new Error(`out of order: ${came.join(' ')}`)
    }
    await end(history)
    t.same(history.up.came, history.up.sent)
    t.same(history.got, history.down.sent)
    t.same(history.firstAnswers, [...history.firstAnswers].sort((a, b) => a - b))
    history.transport.destroy()
    await settled()
    history.transport.forget()
    t.equal(history.clock.timers, 0)
  })
}
