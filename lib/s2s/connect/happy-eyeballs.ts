/** Connects to one of several targets, each started a little after the one before (RFC 8305 §5, XEP-0495). */
import type { Clock, Timer } from '../../base/clock.js'
import type { Guard } from '../../stream/guard.js'
import { TcpTransport } from '../../stream/tcp-transport.js'
import type { Transport } from '../../stream/transport.js'
import type { Target } from '../ground/target.js'
import type { Dialer } from './context.js'

/** The next target is tried if the one before has not answered for this time, in milliseconds. */
const STAGGER = 250
/** The silence in milliseconds after which TCP checks whether the peer is still there. */
const PROBE = 60_000

/** Connects over TCP, if the guard allows it. */
export class TcpDialer implements Dialer {
  readonly #clock: Clock
  readonly #guard: Guard

  constructor (clock: Clock, guard: Guard) {
    this.#clock = clock
    this.#guard = guard
  }

  objection (target: Target): string | undefined { return this.#guard.objection(target) }

  async dial (target: Target, signal: AbortSignal): Promise<Transport> {
    const socket = await this.#guard.connect(target, signal)
    socket.setKeepAlive(true, PROBE)
    return new TcpTransport(socket, this.#clock)
  }
}

export interface Dialled { readonly transport: Transport, readonly target: Target }

/**
 * Connects to the first target that answers. Rejects with the error of the last one to fail, or after `timeout`
 * milliseconds.
 */
export function dialFirst (
  dialer: Pick<Dialer, 'dial'>, clock: Clock, targets: readonly Target[], timeout: number,
): Promise<Dialled> {
  return new Promise((resolve, reject) => {
    const controller = new AbortController()
    const { signal } = controller
    let next = 0
    let failed = 0
    let isDone = false
    let stagger: Timer | undefined
    const finish = (then: () => void): void => {
      if (isDone) return
      isDone = true
      stagger?.cancel()
      limit.cancel()
      controller.abort()
      then()
    }
    const limit = clock.after(timeout, () => { finish(() => { reject(new Error('no server answers')) }) })
    const tryNext = (): void => {
      const target = targets[next++]
      stagger?.cancel()
      if (target === undefined) return
      stagger = clock.after(STAGGER, tryNext)
      dialer.dial(target, signal).then(transport => {
        if (isDone) transport.destroy()
        else finish(() => { resolve({ transport, target }) })
      }, (error: unknown) => {
        const reason = error instanceof Error ? error : new Error(String(error))
        if (++failed === targets.length) finish(() => { reject(reason) })
        else if (!isDone) tryNext()
      })
    }
    tryNext()
  })
}
