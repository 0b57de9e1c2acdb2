/**
 * A DNS client (RFC 1035) that reports the time to live and whether the resolver validated the answer (RFC 6840 §5.8).
 */
import { randomInt } from 'node:crypto'
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { connect, isIP } from 'node:net'
import packet, { type Answer, type DecodedPacket, type Packet } from 'dns-packet'
import type { Clock, Timer } from '../../base/clock.js'
import { Semaphore } from '../../base/semaphore.js'
import { cutRecords } from './dns-records.js'

export type RecordType = 'A' | 'AAAA' | 'SRV' | 'TLSA'

/** The answer for one name and type. */
export interface DnsAnswer {
  /** The records of the requested type, after all aliases are followed; at most `MOST_RECORDS` of them. */
  readonly records: readonly Answer[]
  /** How long the answer holds, in milliseconds; also the answer that there are no records. */
  readonly ttl: number
  /** True if the resolver says that it validated the whole answer with DNSSEC. */
  readonly secure: boolean
}

export interface Dns {
  /** Rejects with DnsError if no answer can be had. A name that does not exist is an answer without records. */
  query (name: string, type: RecordType): Promise<DnsAnswer>
}

/** No answer could be had: the server failed or did not respond. */
export class DnsError extends Error {}

/** A DNS server: its IP address and port. */
export interface DnsServer { readonly address: string, readonly port: number }

export interface DnsSettings {
  readonly clock: Clock
  readonly servers: readonly DnsServer[]
  /** How long one server may take for one attempt, in milliseconds. */
  readonly timeout?: number
}

const TIMEOUT = 3000
/** How often each server is asked. */
const ROUNDS = 2
/** The most queries that run at a time, and the most that may wait for their turn. */
const MOST_AT_ONCE = 200
const MOST_WAITING = 5000
/** The most wrong answers to one query that are ignored: a sender of more is guessing ids. */
const MOST_WRONG = 16
/**
 * The bounds of a time to live, in milliseconds. A second at least, or a busy domain would be asked for with each
 * stanza.
 */
const SHORTEST = 1000
const LONGEST = 86_400_000
const MOST_ALIASES = 8
/** RFC 6891 §6.2.5: fits into one frame everywhere. */
const UDP_SIZE = 1232
/**
 * The most bytes of an answer that is decoded, and the most records in it: decoding takes the time of the main thread.
 * An answer over UDP is smaller.
 */
const MOST_BYTES = 16_384
const MOST_DECODED = 512

export class DnsClient implements Dns {
  readonly #clock: Clock
  readonly #servers: readonly DnsServer[]
  readonly #timeout: number
  readonly #queries = new Semaphore(MOST_AT_ONCE, MOST_WAITING)

  constructor ({ clock, servers, timeout = TIMEOUT }: DnsSettings) {
    this.#clock = clock
    this.#servers = servers
    this.#timeout = timeout
  }

  async query (name: string, type: RecordType): Promise<DnsAnswer> {
    const answer = this.#queries.run(() => this.#ask(name, type))
    if (answer === undefined) throw new DnsError('too many DNS queries')
    return await answer
  }

  async #ask (name: string, type: RecordType): Promise<DnsAnswer> {
    let trouble: Error = new DnsError('no DNS server is configured')
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

  /** Asks over UDP, and over TCP if the answer does not fit. */
  async #exchange (server: DnsServer, name: string, type: RecordType): Promise<DecodedPacket> {
    const query = queryFor(name, type)
    const answer = await overUdp(this.#clock, server, query, this.#timeout)
    if (!answer.flag_tc) return answer
    return await overTcp(this.#clock, server, query, this.#timeout)
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
      additionals: [{
        name: '.', type: 'OPT', udpPayloadSize: UDP_SIZE, extendedRcode: 0, ednsVersion: 0,
        flags: 0, flag_do: false, options: [],
      }],
    },
  }
}

/** Uses a new socket for each query: its port is as hard to guess as its id (RFC 5452). */
function overUdp (clock: Clock, server: DnsServer, query: Query, timeout: number): Promise<DecodedPacket> {
  return new Promise((resolve, reject) => {
    const socket: UdpSocket = createSocket(isIP(server.address) === 6 ? 'udp6' : 'udp4')
    let wrong = 0
    const done = (result: DecodedPacket | Error): void => {
      timer.cancel()
      socket.removeAllListeners()
      socket.on('error', () => {}) // late errors of a closed socket
      socket.close()
      if (result instanceof Error) reject(result)
      else resolve(result)
    }
    const timer = clock.after(timeout, () => { done(new DnsError('the DNS server did not answer')) })
    socket.on('error', done)
    socket.on('message', message => {
      const answer = decoded(message, query)
      if (answer !== undefined) done(answer)
      else if (++wrong >= MOST_WRONG) done(new DnsError('too many wrong answers'))
    })
    // The socket is connected, so the system drops packets from other senders.
    socket.connect(server.port, server.address, () => { socket.send(packet.encode(query.packet)) })
  })
}

function overTcp (clock: Clock, server: DnsServer, query: Query, timeout: number): Promise<DecodedPacket> {
  return new Promise((resolve, reject) => {
    const socket = connect(server.port, server.address)
    const chunks: Buffer[] = []
    let bytes = 0
    let wanted: number | undefined
    const timer: Timer = clock.after(timeout, () => { done(new DnsError('the DNS server did not answer over TCP')) })
    const done = (result: DecodedPacket | Error): void => {
      timer.cancel()
      socket.removeAllListeners()
      socket.on('error', () => {})
      socket.destroy()
      if (result instanceof Error) reject(result)
      else resolve(result)
    }
    socket.on('error', done)
    socket.on('close', () => { done(new DnsError('the DNS server closed the connection')) })
    socket.on('connect', () => { socket.write(packet.streamEncode(query.packet)) })
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes < 2) return
      wanted ??= 2 + Buffer.concat(chunks).readUInt16BE(0)
      if (wanted > 2 + MOST_BYTES) { done(new DnsError('the DNS answer is too large')); return }
      if (bytes < wanted) return
      done(decoded(Buffer.concat(chunks).subarray(2, wanted), query) ?? new DnsError('a wrong answer'))
    })
  })
}

/** Returns the answer to this query; undefined for anything else. */
function decoded (message: Buffer, query: Query): DecodedPacket | undefined {
  if (message.length > MOST_BYTES || recordsIn(message) > MOST_DECODED) return undefined
  try {
    const answer = packet.decode(message)
    const [question, second] = answer.questions ?? []
    const isOurs = answer.type === 'response' && answer.id === query.id && second === undefined &&
      question?.type === query.type && isSameName(question.name, query.name)
    return isOurs ? answer : undefined
  } catch {
    return undefined // not a DNS packet: ignored
  }
}

/** Returns the number of records that a packet says to have (RFC 1035 §4.1.1). */
function recordsIn (message: Buffer): number {
  return message.length < 12 ? 0 : [4, 6, 8, 10].reduce((sum, at) => sum + message.readUInt16BE(at), 0)
}

function answerOf (message: DecodedPacket, name: string, type: RecordType): DnsAnswer {
  // The types of the package lack the response code; RFC 1035 §4.1.1 has it in the lowest four bits.
  const code = (message.flags ?? 0) & 0xf
  if (code !== 0 && code !== 3) throw new DnsError(`the DNS server answered with error ${code}`)
  const secure = message.flag_ad
  const answers = message.answers ?? []
  let ttl = LONGEST
  let at = name
  for (let alias = 0; alias <= MOST_ALIASES; alias++) {
    const here = answers.filter(answer => isSameName(answer.name, at))
    const found = here.filter(answer => answer.type === type)
    if (found.length > 0) {
      const { records, isCut } = cutRecords(found, name)
      // Without one of its TLSA records, a peer would be refused for its certificate: nobody can say what is valid.
      if (isCut && type === 'TLSA') throw new DnsError('too many TLSA records')
      return { records, secure, ttl: bounded(Math.min(ttl, ...records.map(ttlOf))) }
    }
    const next = here.find(answer => answer.type === 'CNAME')
    if (next?.type !== 'CNAME') break
    ttl = Math.min(ttl, ttlOf(next))
    at = next.data
  }
  return { records: [], secure, ttl: bounded(Math.min(ttl, absence(message))) }
}

/**
 * RFC 2308 §5: returns how long the absence of records holds, in milliseconds; five minutes if the answer does not say.
 */
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
