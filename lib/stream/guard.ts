/**
 * The only way to connect to a place that a stranger or a peer has chosen: the address of a domain, or of a URL in a
 * request. Such a place must be public and not one of our own listeners, unless the conf allows it. The address that is
 * checked is the one that is connected to: DNS is not asked again. Storage, DNS servers and other places that the conf
 * names do not go through here.
 */
import { connect, type Socket } from 'node:net'
import { interfaceAddresses, isSameAddress, isUnspecified, specialKindOf, Ranges } from '../base/reach.js'

/** An IP address and a TCP port. */
export interface Place {
  readonly address: string
  readonly port: number
  /** True if the conf names the place or its domain: it may be anywhere. */
  readonly isAllowed?: boolean
}

/** Nobody may make this server connect to the place. The message names the address, so it is for the operator only. */
export class ForbiddenPlace extends Error {}

export interface GuardSettings {
  /** Ranges that the conf allows in addition to public addresses. */
  readonly allowed?: Ranges
  /** Where this server listens now. */
  readonly listeners?: () => Iterable<Pick<Place, 'address' | 'port'>>
  /** The addresses of this machine. */
  readonly interfaces?: () => readonly string[]
}

export class Guard {
  /** Ranges that the conf allows in addition to public addresses. A reload changes them. */
  allowed: Ranges
  readonly #listeners: NonNullable<GuardSettings['listeners']>
  readonly #interfaces: NonNullable<GuardSettings['interfaces']>

  constructor ({ allowed = new Ranges(), listeners = () => [], interfaces = interfaceAddresses }: GuardSettings = {}) {
    this.allowed = allowed
    this.#listeners = listeners
    this.#interfaces = interfaces
  }

  /** Returns why a place must not be connected to, for the operator; undefined if it may. */
  objection ({ address, port, isAllowed = false }: Place): string | undefined {
    if (isAllowed || this.allowed.has(address)) return undefined
    if (this.#isOwn(address, port)) return `${address} port ${port} is a listener of this server`
    const kind = specialKindOf(address)
    return kind === undefined ? undefined : `${address} is ${kind} address`
  }

  /** Connects to a place. Rejects with ForbiddenPlace, with the system's error, or when `signal` aborts. */
  connect (place: Place, signal: AbortSignal): Promise<Socket> {
    const objection = this.objection(place)
    if (objection !== undefined) return Promise.reject(new ForbiddenPlace(objection))
    if (signal.aborted) return Promise.reject(new Error('cancelled'))
    return new Promise((resolve, reject) => {
      // `address` is an IP address, so no name is looked up.
      const socket = connect({ host: place.address, port: place.port, autoSelectFamily: false })
      const giveUp = (): void => { fail(new Error('cancelled')) }
      const fail = (error: Error): void => {
        signal.removeEventListener('abort', giveUp)
        socket.destroy()
        reject(error)
      }
      signal.addEventListener('abort', giveUp, { once: true })
      socket.once('error', fail)
      socket.once('connect', () => {
        signal.removeEventListener('abort', giveUp)
        socket.off('error', fail)
        resolve(socket)
      })
    })
  }

  #isOwn (address: string, port: number): boolean {
    const here = [...this.#listeners()].filter(listener => listener.port === port)
    if (here.some(listener => isSameAddress(listener.address, address))) return true
    if (!here.some(listener => isUnspecified(listener.address))) return false
    return this.#interfaces().some(own => isSameAddress(own, address))
  }
}
