/** The way to a server, which a test can cut: others reach the server at the address of the bridge. */
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Test } from 'tap'

/** The port for servers. */
const PORT = 5269

export class Bridge {
  readonly address: string
  readonly #to: string
  readonly #sockets = new Set<Socket>()
  #server: Server | undefined

  private constructor (address: string, to: string) {
    this.address = address
    this.#to = to
  }

  /** Builds a bridge at an address, to another one. */
  static async build (t: Test, address: string, to: string): Promise<Bridge> {
    const bridge = new Bridge(address, to)
    t.teardown(() => bridge.cut())
    await bridge.mend()
    return bridge
  }

  /** Ends all connections without a word, and refuses others. */
  async cut (): Promise<void> {
    const server = this.#server
    this.#server = undefined
    const closed = new Promise(resolve => { if (server === undefined) resolve(0); else server.close(resolve) })
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  /** Lets connections through again. */
  async mend (): Promise<void> {
    const server = this.#server = createServer(socket => {
      const other = connect(PORT, this.#to)
      socket.pipe(other).pipe(socket)
      for (const [one, peer] of [[socket, other], [other, socket]] as const) {
        this.#sockets.add(one)
        one.on('error', () => {}).on('close', () => {
          this.#sockets.delete(one)
          peer.destroy()
        })
      }
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(PORT, this.address, resolve)
    })
  }
}
