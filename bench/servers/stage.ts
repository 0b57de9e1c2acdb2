/** The places of a run's servers: two of each kind, which are neighbours, each at its own loopback address. */
import { randomInt } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { freePorts } from './daemon.js'
import { Ejabberd } from './ejabberd.js'
import { Names } from './names.js'
import { Prosody } from './prosody.js'
import { DOMAIN, makeCertificates, NEIGHBOUR_DOMAIN, type Certificate, type Place, type Server } from './server.js'
import { Sestina } from './sestina.js'

/** The kinds of servers that can be measured, by name. */
export const SERVERS = { sestina: Sestina, prosody: Prosody, ejabberd: Ejabberd } as const
export type ServerName = keyof typeof SERVERS

/** A server and its neighbour of the same kind, which only some scenes start. */
export interface Pair { readonly server: Server, readonly neighbour: Server }

export class Stage {
  readonly #folder: string
  readonly #certificates: Readonly<Record<string, Certificate>>
  readonly #names: Names[] = []
  readonly #net = `127.${randomInt(1, 255)}.${randomInt(0, 256)}`
  #last = 0

  /** Makes a stage in an empty folder. */
  static async in (folder: string): Promise<Stage> {
    return new Stage(folder, await makeCertificates(folder, [DOMAIN, NEIGHBOUR_DOMAIN]))
  }

  private constructor (folder: string, certificates: Readonly<Record<string, Certificate>>) {
    this.#folder = folder
    this.#certificates = certificates
  }

  /** Returns two servers of a kind, with their own folders and ports. */
  async pair (name: ServerName): Promise<Pair> {
    return await this.#pair(name, name === 'sestina', place => new SERVERS[name](place))
  }

  /** Returns two servers of another checkout of Sestina, which must have been built. */
  async checkout (root: string): Promise<Pair> {
    return await this.#pair('before', true, place => new Sestina(place, root))
  }

  /** Closes the DNS servers. The servers themselves are stopped by whoever started them. */
  async close (): Promise<void> {
    await Promise.all(this.#names.splice(0).map(async names => { await names.close() }))
  }

  async #pair (name: string, hasListeners: boolean, make: (place: Place) => Server): Promise<Pair> {
    const known = new Map<string, { readonly address: string, readonly port: number }>()
    const names = await Names.at(this.#next(), known)
    this.#names.push(names)
    const places = [await this.#place(name, DOMAIN, hasListeners, names), await this.#place(`${name}-2`, NEIGHBOUR_DOMAIN, hasListeners, names)] as const
    for (const { domain, address, serverPort } of places) known.set(domain, { address, port: serverPort })
    return { server: make(places[0]), neighbour: make(places[1]) }
  }

  async #place (name: string, domain: string, hasListeners: boolean, { address: at, port }: Names): Promise<Place> {
    const certificate = this.#certificates[domain]
    if (certificate === undefined) throw new Error(`there is no certificate for ${domain}`)
    const folder = join(this.#folder, name)
    await mkdir(folder)
    const address = this.#next()
    const [plainPort = 0, tlsPort = 0, directPort = 0, serverPort = 0, adminPort = 0] = await freePorts(address, 5)
    return {
      folder, domain, address, certificate, plainPort, directPort, serverPort, adminPort, names: { address: at, port },
      // Sestina has a listener for each; the other two serve both on one port.
      tlsPort: hasListeners ? tlsPort : plainPort,
    }
  }

  #next (): string {
    return `${this.#net}.${++this.#last}`
  }
}
