/**
 * One BOSH session as a transport (XEP-0124, XEP-0206): requests in order on one side, octets of a stream on the other.
 * Requests are held until there is something to send, or their time is over.
 */
import type { Clock, Timer } from '../../base/clock.js'
import { HIGH_WATER } from '../../stream/bounds.js'
import type { OwnHeader } from '../../stream/header.js'
import type { TlsInfo, Transport, TransportHandlers } from '../../stream/transport.js'
import { NS } from '../../xml/namespaces.js'
import { startTag } from '../../xml/writer.js'
import type { Caller } from '../caller.js'
import { END_OF_STREAM } from './framing.js'
import type { Head } from './head.js'
import { RequestWindow, type Asked } from './window.js'

export interface BoshSettings {
  readonly clock: Clock
  readonly caller: Caller
  readonly sid: string
  /** The first request. */
  readonly first: Head
  /** Called when the session will not answer any more. */
  readonly forgotten: () => void
}

/** The longest time for which a request is held, in seconds, and the most requests that are. */
const LONGEST_WAIT = 60
const MOST_HELD = 2
/** How long a client may have no request here, in seconds; longer if it polls, or has asked for a pause. */
const INACTIVITY = 60
const POLLING_INACTIVITY = 120
const LONGEST_PAUSE = 120
/** The shortest time between two empty requests of a client that polls, in seconds. */
const POLLING = 2
/** The payloads of one response, in bytes. One element may be longer. */
const LONGEST_RESPONSE = HIGH_WATER
/** The cost of one request besides its body, in bytes of the client's rate: HTTP needs that much around it. */
const COST_OF_REQUEST = 512
/** The responses that are kept for a client that acknowledges, besides as many as it has requests. */
const KEPT_UNTIL_ACK = 4
/** A response that is not acknowledged for this time, in milliseconds, may be lost. */
const MAY_BE_LOST = 1000
const NOTHING: TransportHandlers = { data () {}, drained () {}, closed () {} }
const SECOND = 1000

type Attributes = Readonly<Record<string, string | number | undefined>>

export class BoshTransport implements Transport {
  readonly address: string
  readonly tls: TlsInfo | undefined
  readonly #how: BoshSettings
  readonly #window: RequestWindow
  /** In seconds. */
  readonly #wait: number
  /** The most requests that are held; 0 if the client polls. */
  readonly #hold: number
  readonly #usesAcks: boolean
  #handlers = NOTHING
  #isOpened = false
  #isPaused = false
  /** The payloads that wait for a response, and their bytes. */
  #payloads: string[] = []
  #waitingBytes = 0
  /** The attributes of our next body: of the new session, of a new stream, of a response that may be lost. */
  #attributes: Attributes
  /** True if the next response goes out although there is nothing in it. */
  #isDue = false
  #isFlushing = false
  #awaitsDrain = false
  #state: 'open' | 'ending' | 'closed' = 'open'
  /** Why the session ends (XEP-0124 §17.2); undefined if in order. */
  #condition: string | undefined
  #reason: Error | undefined
  /** The response that says so, to whoever asks later. */
  #last: string | undefined
  #silence: Timer | undefined
  #holdTimer: Timer | undefined
  #inactivity: number
  /** When the last empty request of a client that polls came, if its response had no payload. */
  #polledAt = -Infinity

  constructor (how: BoshSettings) {
    const { caller, first } = how
    this.#how = how
    this.address = caller.address
    this.tls = caller.tls
    // §7.1, §12
    this.#wait = Math.min(first.wait ?? LONGEST_WAIT, LONGEST_WAIT)
    this.#hold = this.#wait === 0 ? 0 : Math.min(first.hold ?? 1, MOST_HELD)
    this.#usesAcks = first.ack === 1
    // §14.3: a client that acknowledges may go further before it asks for a lost response
    this.#window = new RequestWindow(first.rid, this.#hold + 1, this.#hold + (this.#usesAcks ? KEPT_UNTIL_ACK : 2))
    this.#inactivity = this.#usualInactivity
    this.#attributes = this.#creation()
  }

  get isClosed (): boolean { return this.#state === 'closed' }
  get backlog (): number { return this.#waitingBytes }

  // ---- From HTTP -----------------------------------------------------------------------------

  /** Takes a request of this session. It is answered later, but not during this call. */
  request (asked: Asked): void {
    if (this.#last !== undefined) { asked.answer(this.#last); return }
    const verdict = this.#window.take(asked)
    switch (verdict.go) {
      case 'repeat': asked.answer(verdict.response); break
      case 'refused': this.#refuse(asked, verdict.condition); return
      // §17.3: the client has repeated the request, and gets the response there
      case 'replaces': verdict.former.answer(wrapped({ type: 'error' })); break
      case 'taken': if (!this.#mayPoll(asked)) { this.#refuse(asked, 'policy-violation', true); return }
    }
    this.#handlers.heard?.(COST_OF_REQUEST)
    this.#isHeard()
    this.#inactivity = this.#usualInactivity
    this.#acknowledged(asked.head)
    this.#later()
  }

  /** Takes note that the connection of a request without a response is gone. */
  gone (): void { this.#later() }

  // ---- For the stream ------------------------------------------------------------------------

  open (handlers: TransportHandlers): void {
    this.#handlers = handlers
    this.#isOpened = true
    this.#later()
  }

  /** Takes our header. The next body says what of it the client has to know (XEP-0206 §2). */
  opened ({ id, from }: OwnHeader): void {
    this.#attributes = { ...this.#attributes, from, 'authid': id, 'xmlns:xmpp': NS.XBOSH, 'xmpp:version': '1.0' }
  }

  write (octets: string): void {
    if (this.#state !== 'open' || octets === '') return
    // A client has no end tag to answer ours with.
    if (octets === END_OF_STREAM) { this.#finish(this.#condition); return }
    if (octets.startsWith('<stream:error')) this.#condition = 'remote-stream-error' // XEP-0206 §8
    this.#payloads.push(octets)
    this.#waitingBytes += octets.length
    this.#later()
  }

  awaitDrain (): void {
    this.#awaitsDrain = true
    this.#later()
  }

  pause (): void { this.#isPaused = true }

  resume (): void {
    this.#isPaused = false
    this.#later()
  }

  startTls (): Promise<TlsInfo> { return Promise.reject(new Error('BOSH has no STARTTLS')) }

  /** A stream that is left open is for a server that starts again. */
  end (): void { this.#finish('system-shutdown') }

  destroy (reason?: Error): void {
    this.#reason ??= reason
    this.#finish('remote-connection-failed')
  }

  // ---- Requests ------------------------------------------------------------------------------

  get #usualInactivity (): number { return this.#hold === 0 ? POLLING_INACTIVITY : INACTIVITY }

  /** §7.2. */
  #creation (): Attributes {
    const { sid, first } = this.#how
    return {
      sid,
      'wait': this.#wait,
      'requests': this.#window.size,
      'hold': this.#hold,
      'ver': commonVersion(first.version),
      'polling': this.#hold === 0 ? POLLING : undefined,
      'inactivity': this.#usualInactivity,
      'maxpause': LONGEST_PAUSE,
      'ack': this.#usesAcks ? first.rid : undefined,
      'xmlns:xmpp': NS.XBOSH,
      'xmpp:restartlogic': 'true',
    }
  }

  /** §12: false if a client that polls does so too often. */
  #mayPoll ({ at, head: { isEmpty, pause, isTerminate } }: Asked): boolean {
    if (this.#hold > 0) return true
    const before = this.#polledAt
    const isPoll = isEmpty && pause === undefined && !isTerminate
    this.#polledAt = isPoll ? at : -Infinity
    return !isPoll || at >= before + POLLING * SECOND
  }

  /** §9.2: forgets what the client has, and tells it of a response that may be lost. */
  #acknowledged ({ ack }: Head): void {
    if (!this.#usesAcks || ack === undefined) return
    this.#window.acknowledge(ack)
    const { clock } = this.#how
    const sent = this.#window.sentAt(ack + 1)
    if (sent === undefined || clock.now() < sent + MAY_BE_LOST) return
    this.#attributes = { ...this.#attributes, report: ack + 1, time: clock.now() - sent }
    this.#isDue = true
  }

  /** Hands the bodies over in their order, as far as the stream reads. */
  #handOver (): void {
    while (this.#isOpened && !this.#isPaused && this.#state === 'open') {
      const asked = this.#window.next()
      if (asked === undefined) return
      this.#handlers.data(asked.body)
      const { pause } = asked.head
      if (pause !== undefined) this.#pauseFor(pause)
    }
  }

  /** §10: all requests are answered at once and without payloads, and the client may be silent for longer. */
  #pauseFor (seconds: number): void {
    while (this.#window.held > 0) this.#answer([])
    this.#inactivity = Math.min(seconds, LONGEST_PAUSE)
    this.#isHeard()
  }

  #refuse (asked: Asked, condition: string, isTaken = false): void {
    if (!isTaken) asked.answer(wrapped({ type: 'terminate', condition }))
    this.#reason ??= new Error(`the client broke the rules of BOSH: ${condition}`)
    this.#finish(condition)
  }

  // ---- Responses -----------------------------------------------------------------------------

  #later (): void {
    if (this.#isFlushing || this.#state === 'closed') return
    this.#isFlushing = true
    setImmediate(() => {
      this.#isFlushing = false
      this.#flush()
    })
  }

  /** Answers the requests that are due: there is something to send, or too many are held. */
  #flush (): void {
    this.#handOver()
    if (this.#state === 'ending') { this.#close(); return }
    const window = this.#window
    while (window.held > 0 && !window.isOldestGone && (this.#hasAnswer || window.held > this.#hold)) {
      this.#answer(this.#batch())
    }
    this.#report()
    this.#awaitRequest()
    this.#awaitPayload()
  }

  get #hasAnswer (): boolean { return this.#payloads.length > 0 || this.#isDue }

  /** Takes the payloads of one response. */
  #batch (): readonly string[] {
    let bytes = 0
    let count = 0
    for (const { length } of this.#payloads) {
      if (count > 0 && bytes + length > LONGEST_RESPONSE) break
      bytes += length
      count++
    }
    this.#waitingBytes -= bytes
    return this.#payloads.splice(0, count)
  }

  #answer (payloads: readonly string[], more: Attributes = {}): void {
    const { oldest, received } = this.#window
    // §9.1: up to which request all have come, unless that is the one which is answered
    const ack = this.#usesAcks && received !== oldest ? { ack: received } : {}
    const body = wrapped({ ...ack, ...this.#attributes, ...more }, payloads)
    this.#attributes = {}
    this.#isDue = false
    if (payloads.length > 0) this.#polledAt = -Infinity
    this.#window.respond(body, this.#how.clock.now())
  }

  #report (): void {
    if (!this.#awaitsDrain || this.#payloads.length > 0 || this.#state !== 'open') return
    this.#awaitsDrain = false
    this.#handlers.drained()
  }

  /** §10: a client without a request here for too long is gone. */
  #awaitRequest (): void {
    if (this.#state !== 'open') return
    if (this.#window.hasLive) this.#isHeard()
    else this.#silence ??= this.#how.clock.after(this.#inactivity * SECOND, () => {
      this.#reason ??= new Error('no request came in time')
      // §10: as if there had been no such session
      this.#finish('item-not-found')
    })
  }

  #isHeard (): void {
    this.#silence?.cancel()
    this.#silence = undefined
  }

  /** Answers the oldest request, with nothing, when its time is over. */
  #awaitPayload (): void {
    this.#holdTimer?.cancel()
    const since = this.#window.oldestAt
    if (since === undefined || this.#window.isOldestGone || this.#state !== 'open') return
    const { clock } = this.#how
    this.#holdTimer = clock.after(Math.max(since + this.#wait * SECOND - clock.now(), 0), () => {
      this.#isDue = true
      this.#later()
    })
  }

  // ---- The end -------------------------------------------------------------------------------

  #finish (condition: string | undefined): void {
    if (this.#state !== 'open') return
    this.#state = 'ending'
    this.#condition ??= condition
    this.#isFlushing = true
    setImmediate(() => { this.#close() })
  }

  /** §13: the oldest request gets the end, and the others empty bodies. Later ones get the end as well. */
  #close (): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#silence?.cancel()
    this.#holdTimer?.cancel()
    const condition = this.#condition
    this.#last = wrapped({ ...this.#attributes, type: 'terminate', condition }, this.#payloads)
    const [oldest, ...others] = this.#window.abandon()
    oldest?.answer(this.#last)
    for (const asked of others) asked.answer(wrapped({}))
    // A client that was told, or that does not come, need not be remembered.
    if (oldest !== undefined && !oldest.isGone || condition === 'item-not-found') this.#how.forgotten()
    else this.#silence = this.#how.clock.after(INACTIVITY * SECOND, () => { this.#how.forgotten() })
    this.#handlers.closed(this.#reason)
  }

  /** Forgets a session that has ended, at the end of the server. */
  forget (): void { this.#silence?.cancel() }
}

/** Returns the version that both sides know (XEP-0124 §7.2). */
function commonVersion (theirs: string | undefined): string {
  const [, minor = '11'] = /^1\.(\d{1,4})$/.exec(theirs ?? '') ?? []
  return `1.${Math.min(Number(minor), 11)}`
}

/** Returns a `<body/>` as octets, with payloads that are each complete by themselves. */
export function wrapped (attributes: Attributes, payloads: readonly string[] = []): string {
  return `${startTag('body', { xmlns: NS.HTTP_BIND, ...attributes })}${payloads.join('')}</body>`
}
