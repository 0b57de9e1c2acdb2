/** Two users who talk on a server while somebody attacks it. */
import { setTimeout as rest } from 'node:timers/promises'
import type { Test } from 'tap'
import { RawClient, started } from './peer.js'
import { DOMAIN, ServerProcess, type ServerHow } from './server.js'
import { turnsStayShort } from './turns.js'

export class AttackedServer {
  readonly server: ServerProcess
  readonly #juliet: RawClient
  readonly #romeo: RawClient

  static async open (t: Test, how: ServerHow = {}): Promise<AttackedServer> {
    const server = await ServerProcess.start(t, how)
    for (const name of ['romeo', 'juliet', 'mallory', 'tybalt', 'paris']) await server.account(name)
    const juliet = await started(() => RawClient.at(server.ports.none, '127.0.9.1'), peer => peer.comes('juliet', 'balcony'))
    const romeo = await started(() => RawClient.at(server.ports.none, '127.0.9.2'), peer => peer.comes('romeo', 'orchard'))
    juliet.says(`<presence to='romeo@${DOMAIN}' type='subscribed'/><presence to='romeo@${DOMAIN}' type='subscribe'/>`)
    await juliet.pings()
    romeo.says(`<presence to='juliet@${DOMAIN}' type='subscribed'/><presence to='juliet@${DOMAIN}' type='subscribe'/>`)
    await romeo.pings()
    await juliet.pings()
    juliet.heard = romeo.heard = ''
    return new AttackedServer(server, juliet, romeo)
  }

  private constructor (server: ServerProcess, juliet: RawClient, romeo: RawClient) {
    this.server = server
    this.#juliet = juliet
    this.#romeo = romeo
  }

  /**
   * Lets the two users talk until the attack is over. Checks that no turn takes too long, that they hear only each
   * other, and that the server logs no error. If a turn was too long, the attack is repeated, with its own devices.
   */
  async talks (t: Test, attack: () => Promise<void>): Promise<void> {
    await turnsStayShort(t, async () => await this.#attacked(t, attack))
  }

  /** Returns the CPU time of the longest turn during an attack, in milliseconds. */
  async #attacked (t: Test, attack: () => Promise<void>): Promise<number> {
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
    t.same(await server.errors(), [], 'no unexpected error was logged')
    t.equal(this.#juliet.heard + this.#romeo.heard, '', 'the two users got nothing else')
    return turns.worst
  }

  async visitor (n = 0): Promise<RawClient> { return await RawClient.at(this.server.ports.none, `127.0.${10 + n % 200}.7`) }
}
