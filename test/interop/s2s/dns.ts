/** A small DNS server on the loopback network: it answers with the records that a test added. */
import { createSocket, type Socket } from 'node:dgram'
import packet, { type Answer, type RecordType } from 'dns-packet'
import type { Test } from 'tap'

export class Zone {
  readonly address: string
  readonly port: number
  readonly #socket: Socket
  readonly #records: Answer[] = []
  /** The queries so far, as 'SRV _xmpp-server._tcp.example.org'. */
  readonly asked: string[] = []

  private constructor (socket: Socket) {
    this.#socket = socket
    const { address, port } = socket.address()
    this.address = address
    this.port = port
    socket.on('message', (message, from) => { socket.send(this.#answer(message), from.port, from.address) })
  }

  static async at (t: Test, address: string, port = 53): Promise<Zone> {
    const socket = createSocket('udp4')
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.bind(port, address, resolve)
    })
    t.teardown(async () => { await new Promise<void>(resolve => { socket.close(resolve) }) })
    return new Zone(socket)
  }

  add (...records: readonly Answer[]): void { this.#records.push(...records) }

  /** Adds a domain whose server is at this address, for STARTTLS, direct TLS, or both. */
  server (domain: string, address: string, ports: { readonly plain?: number, readonly direct?: number }): void {
    const host = `xmpp.${domain}`
    const ttl = 60
    this.add({ type: 'A', name: host, ttl, data: address })
    const { plain, direct } = ports
    if (plain !== undefined) this.add({ type: 'SRV', name: `_xmpp-server._tcp.${domain}`, ttl, data: { priority: 5, weight: 1, port: plain, target: host } })
    if (direct !== undefined) this.add({ type: 'SRV', name: `_xmpps-server._tcp.${domain}`, ttl, data: { priority: 5, weight: 1, port: direct, target: host } })
  }

  #answer (message: Buffer): Buffer {
    const { id, questions = [] } = packet.decode(message)
    const [question] = questions
    const found = question === undefined ? [] : this.#find(question.name.toLowerCase(), question.type)
    if (question !== undefined) this.asked.push(`${question.type} ${question.name}`)
    const exists = question !== undefined && this.#records.some(({ name }) => name === question.name.toLowerCase())
    return packet.encode({
      type: 'response',
      ...id === undefined ? {} : { id },
      flags: packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE | (exists ? 0 : 3),
      questions,
      answers: found,
    })
  }

  #find (name: string, type: RecordType): Answer[] {
    return this.#records.filter(record => record.name === name && record.type === type)
  }
}
