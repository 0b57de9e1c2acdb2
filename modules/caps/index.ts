/** XEP-0115 Entity Capabilities: the server's own, and those of devices, asked for once and believed only when proved. */
import {
  Cache, capabilities, CAPS_NODE, child, defineModule, discovery, FairCache, flatten, follow, namespaceOf, NS, offersChanged,
  presenceArriving, presences, presenceSent, rosters, StanzaError, xml,
} from '../../lib/api.js'
import type { Element, Jid, Maybe, Presence } from '../../lib/api.js'
import { capsOf, featuresOf, isKnownHash, verificationOf, type Caps } from './verification.js'

/** Answers that are kept, and bytes of them. */
const ANSWERS = 2000
const ANSWER_BYTES = 8 * 1024 * 1024
/** Bytes of what is known of devices: of an account here, or of another domain; of all; and of each device beside its names. */
const DEVICES_OF_ONE = 2 * 1024 * 1024
const DEVICES_OF_ALL = 16 * 1024 * 1024
const DEVICE = 100
/** The longest hash with its name: no function that is known makes a longer one. */
const LONGEST_KEY = 128
/** Questions that may be under way at once. */
const QUESTIONS = 100
/** Features of one answer that are kept, and the characters that they may have together: no software needs a third of that. */
const FEATURES = 500
const CHARACTERS = 32_768
/** Devices that may be asked the same at once: one that does not answer keeps nobody from being believed. And questions to one account. */
const ASKED = 3
const QUESTIONS_AN_ACCOUNT = 4

export default defineModule({
  name: 'caps',
  about: 'Says in one hash what the server can, and learns from their hashes what devices can.',
  xeps: ['0115 v1.6.0'],
  features: { host: [NS.CAPS, NS.CAPS_OPTIMIZE] },
  requires: ['disco', 'presence'],

  setup (host) {
    const answers = new Cache<string, ReadonlySet<string>>({ max: ANSWERS, maxSize: ANSWER_BYTES, sizeCalculation: bytesOf })
    const devices = new FairCache<string>({
      each: DEVICES_OF_ONE, all: DEVICES_OF_ALL, sizeOf: (name, key) => DEVICE + name.length + key.length,
    })
    /** Who fills the cache with this device. */
    const groupOf = (device: Jid): string => host.router.serves(device.domain) ? device.bare.toString() : device.domain
    const asking = new Counts()
    let questions = 0

    // ---- The server's own --------------------------------------------------------------

    let own: Element | undefined
    host.on(offersChanged, () => { own = undefined }, 'observe')
    host.offer({
      namespace: NS.CAPS,
      offered: () => own ??= xml('c', { xmlns: NS.CAPS, hash: 'sha-1', node: CAPS_NODE, ver: verificationOf(host.use(discovery).info()) ?? '' }),
    })

    // ---- Those of devices -----------------------------------------------------------------

    host.provide(capabilities, {
      of: device => {
        const key = devices.get(groupOf(device), device.toString())
        return key === undefined ? undefined : answers.get(key)
      },
      // §8.4: whoever heard the first presence knows.
      trimmed: (presence, before) => before !== undefined && isSame(presence, before) ? presence.with({ without: isCaps }) : presence,
    })

    host.on(presenceSent, ({ presence, session }) => {
      if (presence.to === undefined) learn(presence, session.jid, host.jid)
    }, 'stamp')
    host.on(presenceArriving, ({ presence, account, session }) => {
      if (session !== undefined || host.sessions.of(account).length === 0) return undefined
      return follow(isExpected(account, presence.from), expected => { if (expected) learn(presence, presence.from, account) })
    }, 'observe')

    /** A stranger is not asked: the question would say that there is such an account, and that it is here (RFC 6121 §8.5.1). */
    function isExpected (account: Jid, from: Jid): Maybe<boolean> {
      const isTold = host.sessions.of(account).some(device => {
        for (const told of host.use(presences).told(device)) if (told.bare.equals(from.bare)) return true
        return false
      })
      return isTold || follow(host.find(rosters)?.of(account), roster => {
        const subscription = roster?.item(from.bare)?.subscription
        return subscription === 'to' || subscription === 'both'
      })
    }

    function learn (presence: Presence, device: Jid, asker: Jid): void {
      const name = device.toString()
      if (presence.type !== 'available') {
        if (presence.type === 'unavailable') devices.delete(groupOf(device), name)
        return
      }
      const caps = capsOf(presence.child(NS.CAPS, 'c'))
      if (caps === undefined || !isKnownHash(caps.hash)) return
      const key = `${caps.hash} ${caps.ver}`
      if (key.length > LONGEST_KEY) return
      devices.set(groupOf(device), name, key)
      const account = device.bare.toString()
      if (answers.has(key) || asking.of(key) >= ASKED || asking.of(account) >= QUESTIONS_AN_ACCOUNT || questions >= QUESTIONS) return
      for (const one of [key, account]) asking.add(one, 1)
      questions++
      void ask(device, asker, caps, key).finally(() => {
        for (const one of [key, account]) asking.add(one, -1)
        questions--
      })
    }

    /** §5.4: an answer that does not give the hash is nobody's: it would poison all who share the hash. */
    async function ask (device: Jid, asker: Jid, caps: Caps, key: string): Promise<void> {
      try {
        const reply = await host.ask(device, xml('query', { xmlns: NS.DISCO_INFO, node: `${caps.node}#${caps.ver}` }), { from: asker })
        const info = child(reply, NS.DISCO_INFO, 'query')
        if (info === undefined || verificationOf(info, caps.hash) !== caps.ver) {
          host.log.debug('caps not proved', { device: device.toString(), node: caps.node })
          return
        }
        answers.set(key, new Set(kept(featuresOf(info))))
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error
        host.log.debug('caps not told', { device: device.toString(), condition: error.condition })
      }
    }
  },
})

/** What an answer holds; each feature a little more than it says. */
function bytesOf (features: ReadonlySet<string>): number {
  let bytes = 1
  for (const feature of features) bytes += 50 + feature.length
  return bytes
}

/** As many as there is room for, in memory of their own. */
function kept (features: readonly string[]): readonly string[] {
  let room = CHARACTERS
  return features.slice(0, FEATURES).filter(feature => (room -= feature.length) >= 0).map(flatten)
}

/** How often each of these is under way. */
class Counts {
  readonly #counts = new Map<string, number>()

  of (name: string): number { return this.#counts.get(name) ?? 0 }

  add (name: string, by: number): void {
    const count = this.of(name) + by
    if (count > 0) this.#counts.set(name, count)
    else this.#counts.delete(name)
  }
}

function isCaps (element: Element): boolean {
  return element.getName() === 'c' && namespaceOf(element) === NS.CAPS
}

function isSame (presence: Presence, before: Presence): boolean {
  const now = capsOf(presence.child(NS.CAPS, 'c'))
  const then = capsOf(before.child(NS.CAPS, 'c'))
  return now !== undefined && now.ver === then?.ver && now.hash === then.hash && now.node === then.node
}
