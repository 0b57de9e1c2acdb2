/** Connecting to one of several places: side by side, each a little later than the one before (RFC 8305 §5, XEP-0495). */
import type { Clock, Timer } from '../base/clock.js'
import type { Guard } from '../stream/guard.js'
import { TcpTransport } from '../stream/tcp-transport.js'
import type { Transport } from '../stream/transport.js'
import type { Target } from './resolve.js'
import type { Dialer } from './world.js'

/** The next place is tried when the one before has not answered for so long, in milliseconds. */
const STAGGER = 250
/** A peer that is gone without a word is found out by TCP after this much silence. */
const PROBE = 60_000

/** Over TCP, past the guard. */
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

/** The first of the targets that answers. Rejects with the error of the last one to fail, or after `patience` milliseconds. */
export function dialFirst (dialer: Pick<Dialer, 'dial'>, clock: Clock, targets: readonly Target[], patience: number): Promise<Dialled> {
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
    const limit = clock.after(patience, () => { finish(() => { reject(new Error('nobody answers')) }) })
    const tryNext = (): void => {
      const target = targets[next++]
      stagger?.cancel()
      if (target === undefined) return
      stagger = clock.after(STAGGER, tryNext)
      dialer.dial(target, signal).then(transport => {
        if (isDone) transport.destroy()
        else finish(() => { resolve({ transport, target }) })
      }, (error: unknown) => {
        if (++failed === targets.length) finish(() => { reject(error instanceof Error ? error : new Error(String(error))) })
        else if (!isDone) tryNext()
      })
    }
    tryNext()
  })
}
