/** Two people who talk on a server that somebody else attacks. */
import { setTimeout as rest } from 'node:timers/promises'
import type { Test } from 'tap'
import { Peer } from './peer.js'
import { DOMAIN, ServerProcess, type ServerHow } from './server.js'

/** CPU time of the main thread that one turn of the event loop may use under any attack: milliseconds. */
export const LONGEST_TURN = 50

export class Town {
  readonly server: ServerProcess
  readonly #juliet: Peer
  readonly #romeo: Peer

  static async open (t: Test, how: ServerHow = {}): Promise<Town> {
    const server = await ServerProcess.start(t, how)
    for (const name of ['romeo', 'juliet', 'mallory', 'tybalt', 'paris']) await server.account(name)
    const [juliet, romeo] = [await Peer.at(server.ports.none, '127.0.9.1'), await Peer.at(server.ports.none, '127.0.9.2')]
    await juliet.comes('juliet', 'balcony')
    await romeo.comes('romeo', 'orchard')
    juliet.says(`<presence to='romeo@${DOMAIN}' type='subscribed'/><presence to='romeo@${DOMAIN}' type='subscribe'/>`)
    await juliet.pings()
    romeo.says(`<presence to='juliet@${DOMAIN}' type='subscribed'/><presence to='juliet@${DOMAIN}' type='subscribe'/>`)
    await romeo.pings()
    await juliet.pings()
    juliet.heard = romeo.heard = ''
    return new Town(server, juliet, romeo)
  }

  private constructor (server: ServerProcess, juliet: Peer, romeo: Peer) {
    this.server = server
    this.#juliet = juliet
    this.#romeo = romeo
  }

  /** They talk until the attack is over. They wait no longer than that, hear nothing but one another, and nothing fails in the server. */
  async talks (t: Test, attack: () => Promise<void>): Promise<void> {
    const { server } = this
    await server.turns()
    let isOver = false
    const attacked = attack().finally(() => { isOver = true })
    attacked.catch(() => {})
    let worst = 0
    for (let n = 0; !isOver || n < 3; n++) {
      const began = performance.now()
      this.#juliet.says(`<message to='romeo@${DOMAIN}/orchard' type='chat' id='${n}'><body>What is it o'clock?</body></message>`)
      const heard = await this.#romeo.gets('</message>')
      worst = Math.max(worst, performance.now() - began, await this.#juliet.pings())
      if (!heard.includes(`id="${n}"`) && !heard.includes(`id='${n}'`)) throw new Error(`romeo heard ${heard}`)
      await rest(15)
    }
    await attacked
    const turns = await server.turns()
    t.comment(`they waited ${worst.toFixed(0)} ms at most; the turns used ${turns.worst.toFixed(1)} ms at most, ${turns.total.toFixed(0)} ms together, a collection ${turns.collection.toFixed(1)} ms`)
    t.ok(turns.worst < LONGEST_TURN, `a turn of the event loop used ${turns.worst.toFixed(1)} ms of CPU`)
    t.same(await server.errors(), [], 'nothing failed unforeseen')
    t.equal(this.#juliet.heard + this.#romeo.heard, '', 'they heard nothing else')
  }

  async visitor (n = 0): Promise<Peer> { return await Peer.at(this.server.ports.none, `127.0.${10 + n % 200}.7`) }
}
