/** strophe.js, the library of Converse.js, as the tests use it in Node. */
import { XMLSerializer } from '@xmldom/xmldom'
import type { Test } from 'tap'
import { PATIENCE } from './library.js'

interface Built { c (name: string, attributes?: object, text?: string): Built, t (text: string): Built }
type Element = Parameters<XMLSerializer['serializeToString']>[0]
interface Connection {
  jid: string
  connect (jid: string, password: string, callback: (status: number, condition?: string) => void): void
  send (element: Built): void
  sendIQ (element: Built, callback: (answer: Element) => void, failed: (answer: Element | null) => void): string
  addHandler (handler: (stanza: Element) => boolean, namespace: null, name: string | null): void
  disconnect (reason: string): void
}
interface Library {
  Strophe: { Connection: new (url: string, options?: object) => Connection, Status: Record<string, number> }
  $msg (attributes: object): Built
  $iq (attributes: object): Built
  $pres (attributes?: object): Built
}

const serialize = (element: Element): string => new XMLSerializer().serializeToString(element)

/** One client on one connection. */
export class StropheClient {
  readonly #connection: Connection
  readonly #library: Library
  #heard: string[] = []
  #woken = (): void => {}
  #ended = (): void => {}

  /** `url`: of a WebSocket, or of BOSH. */
  static async open (t: Test, url: string, options: object = {}): Promise<StropheClient> {
    // its types are those of a browser
    return new StropheClient(t, await import('strophe.js'), url, options)
  }

  private constructor (t: Test, library: Library, url: string, options: object) {
    this.#library = library
    this.#connection = new library.Strophe.Connection(url, options)
    t.teardown(() => { this.#connection.disconnect('the test is over') })
  }

  /** Resolves with the full address once the client is online. */
  async logsIn (jid: string, password: string): Promise<string> {
    const { Strophe: { Status }, $pres } = this.#library
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => { reject(new Error('not online in time')) }, PATIENCE)
      this.#connection.connect(jid, password, (status, condition) => {
        if (status === Status['CONNECTED']) { clearTimeout(timer); resolve() }
        if (status !== Status['DISCONNECTED']) return
        this.#ended()
        clearTimeout(timer)
        reject(new Error(`strophe.js was disconnected: ${condition ?? ''}`)) // of no effect once it was online
      })
    })
    this.#connection.addHandler(stanza => {
      this.#heard.push(serialize(stanza))
      this.#woken()
      return true
    }, null, 'message')
    this.#connection.send($pres())
    return this.#connection.jid
  }

  says (name: 'message', to: string, body: string): void {
    if (name === 'message') this.#connection.send(this.#library.$msg({ to, type: 'chat' }).c('body').t(body))
  }

  /** Sends a request of type get to the own account; resolves with the answer. `namespace`: of its query. */
  async asks (namespace: string): Promise<string> {
    const { $iq } = this.#library
    return await new Promise((resolve, reject) => {
      this.#connection.sendIQ($iq({ type: 'get' }).c('query', { xmlns: namespace }), answer => { resolve(serialize(answer)) },
        answer => { reject(new Error(answer === null ? 'no answer' : serialize(answer))) })
    })
  }

  async gets (wanted: RegExp): Promise<string> {
    for (;;) {
      const found = this.#heard.find(text => wanted.test(text))
      if (found !== undefined) return found
      await new Promise<void>(resolve => { this.#woken = resolve })
    }
  }

  /** Closes the stream, and resolves when the connection is gone. */
  async leaves (): Promise<void> {
    const gone = new Promise<void>(resolve => { this.#ended = resolve })
    this.#connection.disconnect('goodbye')
    await gone
  }
}
