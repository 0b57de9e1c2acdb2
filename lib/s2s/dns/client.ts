/** A DNS client (RFC 1035) that tells how long an answer holds, and whether the resolver has checked it (RFC 6840 §5.8). */
import { randomInt } from 'node:crypto'
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { connect, isIP } from 'node:net'
import packet, { type Answer, type DecodedPacket, type Packet } from 'dns-packet'
import type { Clock, Timer } from '../../base/clock.js'

export type RecordType = 'A' | 'AAAA' | 'SRV' | 'TLSA'

/** What was found out about one name and type. */
export interface DnsAnswer {
  /** Those of the type that was asked for, behind all aliases. */
  readonly records: readonly Answer[]
  /** How long this holds, in milliseconds: also that there is nothing. */
  readonly ttl: number
  /** The resolver says that it has checked all of it by DNSSEC. */
  readonly secure: boolean
}

export interface Dns {
  /** Rejects with DnsError where nothing can be found out; a name that does not exist is an answer without records. */
  query (name: string, type: RecordType): Promise<DnsAnswer>
}

/** Nothing could be found out: the server failed, or did not answer. */
export class DnsError extends Error {}

/** A DNS server: an IP address, and perhaps a port. */
export interface DnsServer { readonly address: string, readonly port: number }

export interface DnsSettings {
  readonly clock: Clock
  readonly servers: readonly DnsServer[]
  /** How long one server may take for one attempt, in milliseconds. */
  readonly patience?: number
}

const PATIENCE = 3000
/** Each server is asked so often. */
const ROUNDS = 2
/** Questions under way at a time, and how many may wait for their turn. */
const MOST_AT_ONCE = 200
const MOST_WAITING = 5000
/** Wrong answers to one question that are passed over: who sends more is guessing ids. */
const MOST_WRONG = 16
/** An answer holds for a second at least, or a busy domain would be asked for with each stanza; and for a day at most. */
const SHORTEST = 1000
const LONGEST = 86_400_000
const MOST_ALIASES = 8
/** RFC 6891 §6.2.5: fits into one frame everywhere. */
const UDP_SIZE = 1232

export class DnsClient implements Dns {
  readonly #clock: Clock
  readonly #servers: readonly DnsServer[]
  readonly #patience: number
  readonly #waiting: (() => void)[] = []
  #running = 0

  constructor ({ clock, servers, patience = PATIENCE }: DnsSettings) {
    this.#clock = clock
    this.#servers = servers
    this.#patience = patience
  }

  async query (name: string, type: RecordType): Promise<DnsAnswer> {
    await this.#turn()
    try {
      return await this.#ask(name, type)
    } finally {
      this.#running--
      this.#waiting.shift()?.()
    }
  }

  async #turn (): Promise<void> {
    if (this.#running >= MOST_AT_ONCE) {
      if (this.#waiting.length >= MOST_WAITING) throw new DnsError('too many questions')
      await new Promise<void>(resolve => { this.#waiting.push(resolve) })
    }
    this.#running++
  }

  async #ask (name: string, type: RecordType): Promise<DnsAnswer> {
    let trouble: Error = new DnsError('there is no DNS server')
    for (let round = 0; round < ROUNDS; round++) {
      for (const server of this.#servers) {
        try {
          const answer = await this.#exchange(server, name, type)
          return answerOf(answer, name, type)
        } catch (error) {
          trouble = error instanceof Error ? error : new Error(String(error))
        }
      }
    }
    throw trouble instanceof DnsError ? trouble : new DnsError(trouble.message, { cause: trouble })
  }

  /** By UDP, and by TCP where the answer does not fit. */
  async #exchange (server: DnsServer, name: string, type: RecordType): Promise<DecodedPacket> {
    const query = queryFor(name, type)
    const answer = await overUdp(this.#clock, server, query, this.#patience)
    if (!answer.flag_tc) return answer
    return await overTcp(this.#clock, server, query, this.#patience)
  }
}

interface Query { readonly id: number, readonly name: string, readonly type: RecordType, readonly packet: Packet }

function queryFor (name: string, type: RecordType): Query {
  const id = randomInt(0x10000)
  return {
    id,
    name,
    type,
    packet: {
      type: 'query',
      id,
      flags: packet.RECURSION_DESIRED | packet.AUTHENTIC_DATA,
      questions: [{ name, type, class: 'IN' }],
      additionals: [{ name: '.', type: 'OPT', udpPayloadSize: UDP_SIZE, extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] }],
    },
  }
}

/** A socket of its own for each question: its port is as hard to guess as its id (RFC 5452). */
function overUdp (clock: Clock, server: DnsServer, query: Query, patience: number): Promise<DecodedPacket> {
  return new Promise((resolve, reject) => {
    const socket: UdpSocket = createSocket(isIP(server.address) === 6 ? 'udp6' : 'udp4')
    let wrong = 0
    const done = (result: DecodedPacket | Error): void => {
      timer.cancel()
      socket.removeAllListeners()
      socket.on('error', () => {}) // of a socket that nobody needs any more
      socket.close()
      if (result instanceof Error) reject(result)
      else resolve(result)
    }
    const timer = clock.after(patience, () => { done(new DnsError('the DNS server does not answer')) })
    socket.on('error', done)
    socket.on('message', message => {
      const answer = decoded(message, query)
      if (answer !== undefined) done(answer)
      else if (++wrong >= MOST_WRONG) done(new DnsError('answers that nobody asked for'))
    })
    // Connected: what comes from anybody else, the system drops.
    socket.connect(server.port, server.address, () => { socket.send(packet.encode(query.packet)) })
  })
}

function overTcp (clock: Clock, server: DnsServer, query: Query, patience: number): Promise<DecodedPacket> {
  return new Promise((resolve, reject) => {
    const socket = connect(server.port, server.address)
    const chunks: Buffer[] = []
    let bytes = 0
    let wanted: number | undefined
    const timer: Timer = clock.after(patience, () => { done(new DnsError('the DNS server does not answer over TCP')) })
    const done = (result: DecodedPacket | Error): void => {
      timer.cancel()
      socket.removeAllListeners()
      socket.on('error', () => {})
      socket.destroy()
      if (result instanceof Error) reject(result)
      else resolve(result)
    }
    socket.on('error', done)
    socket.on('close', () => { done(new DnsError('the DNS server hung up')) })
    socket.on('connect', () => { socket.write(packet.streamEncode(query.packet)) })
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes < 2) return
      wanted ??= 2 + Buffer.concat(chunks).readUInt16BE(0)
      if (bytes < wanted) return
      done(decoded(Buffer.concat(chunks).subarray(2, wanted), query) ?? new DnsError('an answer that nobody asked for'))
    })
  })
}

/** The answer to this question; undefined for anything else. */
function decoded (message: Buffer, query: Query): DecodedPacket | undefined {
  try {
    const answer = packet.decode(message)
    const [question, second] = answer.questions ?? []
    const isOurs = answer.type === 'response' && answer.id === query.id && second === undefined &&
      question?.type === query.type && isSameName(question.name, query.name)
    return isOurs ? answer : undefined
  } catch {
    return undefined // no packet of DNS: as if it had not come
  }
}

function answerOf (message: DecodedPacket, name: string, type: RecordType): DnsAnswer {
  // The types of the package do not name it; RFC 1035 §4.1.1 has it in the lowest four bits.
  const code = (message.flags ?? 0) & 0xf
  if (code !== 0 && code !== 3) throw new DnsError(`the DNS server answers with error ${code}`)
  const secure = message.flag_ad
  const answers = message.answers ?? []
  let ttl = LONGEST
  let at = name
  for (let alias = 0; alias <= MOST_ALIASES; alias++) {
    const here = answers.filter(answer => isSameName(answer.name, at))
    const records = here.filter(answer => answer.type === type)
    if (records.length > 0) return { records, secure, ttl: bounded(Math.min(ttl, ...records.map(ttlOf))) }
    const next = here.find(answer => answer.type === 'CNAME')
    if (next?.type !== 'CNAME') break
    ttl = Math.min(ttl, ttlOf(next))
    at = next.data
  }
  return { records: [], secure, ttl: bounded(Math.min(ttl, absence(message))) }
}

/** RFC 2308 §5: how long it holds that there is nothing; five minutes where nobody says. */
function absence (message: DecodedPacket): number {
  const authority = message.authorities?.find(answer => answer.type === 'SOA')
  if (authority?.type !== 'SOA') return 300_000
  return Math.min(ttlOf(authority), (authority.data.minimum ?? 0) * 1000, 3_600_000)
}

function ttlOf (answer: Answer): number {
  return 'ttl' in answer && typeof answer.ttl === 'number' ? answer.ttl * 1000 : 0
}

function bounded (ttl: number): number { return Math.min(Math.max(ttl, SHORTEST), LONGEST) }

function isSameName (a: string, b: string): boolean {
  return a.replace(/\.$/, '').toLowerCase() === b.replace(/\.$/, '').toLowerCase()
}
