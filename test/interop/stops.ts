/** Four devices of two people, and a server that is stopped and started again while they talk. */
import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Test } from 'tap'
import { askAdmin } from '../../lib/admin/socket.js'
import { only } from '../only.js'
import type { Element } from '../../lib/xml/element.js'
import { Caller } from '../crash/caller.js'
import { DOMAIN, PASSWORD } from '../crash/line.js'
import { startServer } from '../crash/server.js'
import { freePorts, run, type Program } from './process.js'
import { SESTINA } from '../sestina.js'
import { temporaryFolder } from '../temporary-folder.js'

/** The part of a burst that has arrived when the server gets the signal to stop. */
const MIDDLE = 0.2

/**
 * `burst`: the number of messages that each of two devices sends right before the stop; 0 for an idle server. `how`:
 * 'command' runs `sestina stop`, and 'question' sends the same request without a process of its own.
 */
export interface Round { readonly burst: number, readonly how: 'SIGTERM' | 'command' | 'question' }

/** Two people, each with two devices, and a third one to whom both show their presence. */
export class Stage {
  readonly callers: readonly Caller[]
  readonly seen: string[] = []
  readonly #conf: string
  readonly #socket: string
  readonly #port: number
  readonly #directPort: number
  readonly #sent: { readonly from: Caller, readonly to: string }[] = []
  #server: Program

  private constructor (conf: string, ports: readonly [number, number], server: Program) {
    this.#conf = conf
    this.#socket = join(dirname(conf), 'data', 'admin.sock')
    ;[this.#port, this.#directPort] = ports
    this.#server = server
    this.callers = ['romeo', 'juliet'].flatMap(user => ['one', 'two'].map(resource => {
      const caller = new Caller(`${user}@${DOMAIN}`, resource)
      caller.isEncrypted = user === 'juliet'
      caller.sees = presence => { this.#sees(user, presence) }
      return caller
    }))
  }

  static async open (t: Test, storage: string, url: string): Promise<Stage> {
    const folder = temporaryFolder(t)
    const conf = join(folder, 'sestina.toml')
    const [port = 0, directPort = 0] = await freePorts(2)
    writeFileSync(join(folder, 'url'), `${url}\n`, { mode: 0o600 })
    writeFileSync(conf, confOf(storage, port, directPort))
    const server = await startServer(conf, port)
    await server.says(/"server ready"/) // then it accepts admin requests
    const stage = new Stage(conf, [port, directPort], server)
    t.teardown(() => stage.#end())
    for (const user of ['romeo', 'juliet', 'mercutio']) await stage.#asks('user add', [`${user}@${DOMAIN}`], PASSWORD)
    for (const caller of stage.callers) await stage.#arrive(caller)
    await stage.#befriend()
    return stage
  }

  /** Plays one stop and the start after it. */
  async plays ({ burst, how }: Round): Promise<void> {
    const [romeo, , juliet] = this.callers as [Caller, Caller, Caller]
    if (burst > 0) await this.#burst(burst, romeo, juliet)
    await this.#stops(how)
    this.#server = await startServer(this.#conf, this.#port)
    await this.#stranger()
    for (const caller of this.callers) await this.#arrive(caller)
    for (const caller of [romeo, juliet]) this.#says(caller)
    for (const caller of this.callers) await caller.settles()
    for (const caller of this.callers) await caller.gets(this.#dueTo(caller).length)
  }

  /** Checks that each device got all messages that it should have: once, and in order. */
  check (t: Test): void {
    for (const caller of this.callers) {
      const got = caller.chains.flatMap(({ got }) => got)
      for (const sender of this.callers) {
        const isFrom = (message: number): boolean => this.#sent[message]?.from === sender
        t.same(got.filter(isFrom), this.#dueTo(caller).filter(isFrom), `to ${caller.account} from ${sender.account}`)
      }
    }
  }

  #dueTo (caller: Caller): readonly number[] {
    return this.#sent.flatMap(({ to }, message) => to === caller.account ? [message] : [])
  }

  #says (from: Caller): void {
    const to = from === this.callers[0] ? `juliet@${DOMAIN}` : `romeo@${DOMAIN}`
    from.says(to, this.#sent.push({ from, to }) - 1)
  }

  /** Lets both send at once. Resolves when a part has arrived; the rest is on its way. */
  async #burst (burst: number, romeo: Caller, juliet: Caller): Promise<void> {
    const before = this.#dueTo(juliet).length
    for (let n = 0; n < burst; n++) for (const caller of [romeo, juliet]) this.#says(caller)
    await juliet.gets(before + burst * MIDDLE)
  }

  async #stops (how: Round['how']): Promise<void> {
    const gone = this.#server.ended
    if (how === 'SIGTERM') this.#server.signal('SIGTERM')
    else if (how === 'command') await run(process.execPath, [SESTINA, 'stop', '--conf', this.#conf], { isMeasured: false })
    else await this.#asks('stop')
    const code = await gone
    if (code !== 0) throw new Error(`stopped, the server ended with ${code}: ${this.#server.said}`)
    for (const caller of this.callers) {
      await caller.gone
      if (caller.isClosed || caller.ending !== '') throw new Error(`${caller.account} got ${caller.ending}, and ${caller.isClosed ? 'the end of the stream' : 'no end'}`)
    }
  }

  /** Sends a request to the admin socket, as the command does. */
  async #asks (command: string, args: readonly string[] = [], input?: string): Promise<void> {
    const answered = await askAdmin(this.#socket, { command, args, ...input === undefined ? {} : { input } })
    if (answered === undefined) throw new Error(`no answer to '${command}'`)
  }

  async #arrive (caller: Caller): Promise<void> {
    const former = caller.chain
    await caller.arrives(caller.isEncrypted ? this.#directPort : this.#port)
    if (former !== undefined && caller.chain !== former) throw new Error(`${caller.account} could not resume: ${caller.refused}`)
  }

  /** Checks that a contact who comes before anybody is back sees all of them as they were. */
  async #stranger (): Promise<void> {
    const mercutio = new Caller(`mercutio@${DOMAIN}`, 'one')
    const shown = new Map<string, string>()
    let wake = (): void => {}
    mercutio.sees = presence => {
      shown.set(String(presence.attrs['from']), presence.getChildText('status') ?? String(presence.attrs['type']))
      wake()
    }
    await mercutio.arrives(this.#port)
    while (this.#expected().some(([address, status]) => shown.get(address) !== status)) {
      if (!mercutio.isOn) throw new Error('mercutio was cut off')
      await new Promise<void>(resolve => { wake = resolve })
    }
    await mercutio.leaves()
  }

  #expected (): readonly (readonly [string, string])[] {
    return ['romeo', 'juliet'].flatMap(user => ['one', 'two'].map(resource => [`${user}@${DOMAIN}/${resource}`, `${user} is here`] as const))
  }

  /** Subscribes all of them to each other's presence. */
  async #befriend (): Promise<void> {
    const mercutio = new Caller(`mercutio@${DOMAIN}`, 'one')
    await mercutio.arrives(this.#port)
    const [romeo, , juliet] = this.callers as [Caller, Caller, Caller]
    const all = [['romeo', romeo], ['juliet', juliet], ['mercutio', mercutio]] as const
    for (const [user, caller] of all) {
      for (const [other] of all) if (other !== user) caller.posts(`<presence to='${other}@${DOMAIN}' type='subscribe'/>`)
      await caller.settles()
    }
    for (const [user, caller] of all) {
      for (const [other] of all) if (other !== user) caller.posts(`<presence to='${other}@${DOMAIN}' type='subscribed'/>`)
      await caller.settles()
    }
    await mercutio.leaves()
    for (const caller of this.callers) {
      const [user = ''] = caller.account.split('@')
      caller.posts(`<presence><status>${user} is here</status></presence>`)
      await caller.settles()
    }
  }

  #sees (user: string, { attrs }: Element): void {
    const from = String(attrs['from'])
    if (attrs['type'] === 'unavailable' && !from.startsWith('mercutio')) this.seen.push(`${user} saw ${from} go`)
  }

  async #end (): Promise<void> {
    for (const caller of this.callers) await caller.leaves()
    await this.#server.stop()
  }
}

function confOf (storage: string, port: number, directPort: number): string {
  return `
data = "data"
[log]
level = "info"
[storage]
${storage}
[[listen]]
for = "clients"
port = ${port}
address = ["127.0.0.1"]
tls = "none"
rate = "10MiB/s"
[[listen]]
for = "clients"
port = ${directPort}
address = ["127.0.0.1"]
tls = "direct"
rate = "10MiB/s"
[modules]
${only(`roster = true
presence = true
message = true
carbons = true
offline = { keep = 100000 }
mam = true
stream-management = true`)}[host.${DOMAIN}]
`
}
