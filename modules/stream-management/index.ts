/** XEP-0198 Stream Management: stanzas acknowledged both ways, and sessions that outlive their connection, and the process. */
import {
  attributeOf, Cache, defineModule, heartbeats, hostParting, hostRaised, localName, management, NS, sessionClosed, sessionDetached,
  sessionParting, sessionResumed, setting, StreamError, xml,
} from '../../lib/api.js'
import type { Element, Jid, ModuleHost, Negotiation, Session, Timer, Write } from '../../lib/api.js'
import { Managed, type ManagedHome } from './managed.js'
import { forgo, recall } from './recall.js'
import { Shares } from './shares.js'
import { shapes } from './stores.js'
import { undelivered } from './undelivered.js'

const { countIn, failed, isTrue, secondsIn } = management

/** How many sessions that have ended are remembered: their devices hear how far they had come (§5). */
const ENDED = 10_000
const SECOND = 1000

/** What somebody who enables it hears, and where that went well, what is to begin behind it. */
interface Enabled { readonly element: Element, readonly managed: Managed | undefined }

/** What somebody who resumes gets: the session, or why not. */
interface Resumed { readonly element: Element, readonly session?: Session }

export default defineModule({
  name: 'stream-management',
  about: 'Acknowledges stanzas both ways, and keeps the session of a device whose connection is lost, also while the server restarts.',
  xeps: ['0198 v1.6.3'],
  stores: shapes,
  settings: {
    resume: setting.duration({ min: '0s', max: '30d' }).default('15m').says('How long a session waits for its device to come back. 0s: it does not.'),
    stanzas: setting.count({ min: 10, max: 1_000_000 }).default(2000).says('Stanzas to a device that it may leave unacknowledged. With more, its session ends, and messages wait for its account.'),
    bytes: setting.size({ min: '64KiB', max: '1GiB' }).default('8MiB').says('Bytes to a device that it may leave unacknowledged.'),
    account: setting.size({ min: '64KiB', max: '16GiB' }).default('32MiB').says('Bytes that the devices of an account may leave unacknowledged together. With more, the session that holds most ends, and its messages wait for the account.'),
    all: setting.size({ min: '1MiB', max: '1TiB' }).default('256MiB').says('Bytes that all devices of the host may leave unacknowledged together. With more, sessions of the account that holds most end.'),
    patience: setting.duration({ min: '5s', max: '1h' }).default('1m').says('How long a device may take to acknowledge. Then its connection counts as lost.'),
  },
  counts: {
    overflowed: 'Sessions that ended: too much was not acknowledged.',
    unacknowledged: 'Connections that were given up: they acknowledged nothing.',
    expired: 'Sessions that ended: their devices did not come back in time.',
    resumed: 'Sessions that were resumed (XEP-0198).',
  },

  setup (host) {
    const { settings, stores } = host
    const byId = new Map<string, Managed>()
    const ended = new Cache<string, { readonly account: string, readonly count: number }>({ max: ENDED })
    const dirty = new Set<Managed>()
    const waits = new Map<Managed, Timer>()
    let writing: Timer | undefined
    const shares = new Shares<Managed>(settings, managed => { home.overflowed(managed) })

    const home: ManagedHome = {
      stores,
      bounds: settings,
      now: () => host.clock.now(),
      after: (ms, run) => host.clock.after(ms, run),
      id: () => host.ids.next(),
      dirty: managed => {
        dirty.add(managed)
        writing ??= host.clock.after(SECOND, () => { void write() })
      },
      commit: managed => store([managed]),
      undelivered: (octets, at, removing) => { undelivered(host, octets, at, removing) },
      submit: write => { submit(host, write) },
      defect: error => { host.log.error('stanza not settled', { error }) },
      overflowed: managed => {
        host.count('overflowed')
        managed.session.close(new StreamError('resource-constraint', 'too much is not acknowledged'))
      },
      hasRoom: ({ session }) => shares.hasRoom(session.account.toString()),
      holds: ({ session }, by) => { shares.change(session.account.toString(), by) },
    }

    function enter (managed: Managed): void {
      byId.set(managed.id, managed)
      managed.account(true)
      shares.join(managed.session.account.toString(), managed)
    }

    function leave (managed: Managed): void {
      byId.delete(managed.id)
      shares.leave(managed.session.account.toString(), managed)
      managed.account(false)
    }

    // ---- Writing down -----------------------------------------------------------------------

    async function write (): Promise<void> {
      writing = undefined
      const all = [...dirty]
      dirty.clear()
      await store(all).catch(trouble)
    }

    function store (all: readonly Managed[]): Promise<void> {
      const batch = host.batch()
      for (const managed of all) {
        dirty.delete(managed)
        managed.write(batch)
      }
      return batch.commit()
    }

    function trouble (error: unknown): void { host.log.warn('session not written down', { error }) }

    // ---- Beginning (§3) ---------------------------------------------------------------------------

    /** From now on what comes is counted, and what goes waits for `begin`. */
    function manage (session: Session, request: Element): Managed {
      const wanted = secondsIn(request)
      const longest = isTrue(request, 'resume') ? settings.resume : 0
      const patience = wanted === undefined ? longest : Math.min(longest, wanted * SECOND)
      const managed = new Managed(home, session, { id: host.ids.next(), patience })
      session.manage(managed)
      enter(managed)
      return managed
    }

    /** Once its session can outlive the process, the device hears so. */
    async function enable (session: Session, request: Element): Promise<Enabled> {
      const managed = manage(session, request)
      try {
        await store([managed])
      } catch (error) {
        trouble(error)
        leave(managed)
        session.manage(undefined)
        managed.begin()
        return { element: failed('resource-constraint'), managed: undefined }
      }
      const { id, patience } = managed
      return { managed, element: xml('enabled', { xmlns: NS.SM, ...patience === 0 ? {} : { id, resume: 'true', max: patience / SECOND } }) }
    }

    /** Devices that will hear in a moment whether it is on. */
    const beginning = new Set<Promise<void>>()

    async function begin (session: Session, request: Element): Promise<void> {
      const before = session.input.settled()
      if (before !== undefined) await before // what came before is not counted, and is settled before all that is
      if (session.connection === 'closed') return
      const { element, managed } = await enable(session, request)
      session.write(element)
      managed?.begin()
    }

    host.nonza(NS.SM, 'enable', (request, session) => {
      // §3: one attempt is all there is.
      if (session.manager !== undefined) throw new StreamError('policy-violation', 'stream management is on')
      const work = begin(session, request).finally(() => { beginning.delete(work) })
      beginning.add(work)
      return work
    })

    host.offerInline({
      at: 'bind',
      namespace: NS.SM,
      offered: () => xml('feature', { var: NS.SM }),
      async take ({ session }, request) {
        if (session === undefined || request === undefined || localName(request) !== 'enable') return undefined
        const { element, managed } = await enable(session, request)
        managed?.begin()
        return { element }
      },
    })

    // ---- Acknowledging (§4) -------------------------------------------------------------------------

    host.nonza(NS.SM, 'r', (_, session) => { managedOf(session)?.asked() })
    host.nonza(NS.SM, 'a', (nonza, session) => {
      const h = countIn(nonza)
      if (h === undefined) throw new StreamError('bad-format', 'an acknowledgement without a count')
      const managed = managedOf(session)
      if (managed === undefined) return
      // What has brought question and answer has outlived the silence before.
      if (managed.askedAt !== undefined && managed.tried > 0) host.find(heartbeats)?.answered(session, managed.tried)
      managed.confirmed(h)
    })

    function managedOf (session: Session): Managed | undefined {
      const { manager } = session
      if (manager instanceof Managed) return manager
      session.write(failed('unexpected-request'))
      return undefined
    }

    const rounds = host.clock.every(Math.max(settings.patience / 4, SECOND), () => {
      const before = host.clock.now() - settings.patience
      for (const { askedAt, session } of byId.values()) {
        if (askedAt === undefined || askedAt > before || session.connection !== 'attached' || session.lastRead > askedAt) continue
        host.count('unacknowledged')
        session.disconnect(new StreamError('connection-timeout', 'nothing is acknowledged'))
      }
    })
    host.defer(() => { rounds.cancel() })

    // ---- Waiting for the device, and its coming back (§5) --------------------------------------------

    host.on(sessionDetached, event => {
      const { manager } = event.session
      if (!(manager instanceof Managed) || manager.patience === 0) return
      event.keep = true
      manager.detached()
      wait(manager)
    })
    host.on(sessionResumed, ({ session }) => {
      if (session.manager instanceof Managed) stopWaiting(session.manager)
    })

    function wait (managed: Managed): void {
      stopWaiting(managed)
      waits.set(managed, host.clock.after(managed.patience, () => {
        waits.delete(managed)
        host.count('expired')
        managed.session.close(new Error('its device did not come back'))
      }))
    }

    function stopWaiting (managed: Managed): void {
      waits.get(managed)?.cancel()
      waits.delete(managed)
    }

    async function resume (stream: Negotiation, account: Jid, request: Element): Promise<Resumed> {
      const h = countIn(request)
      const id = attributeOf(request, 'previd')
      if (h === undefined || id === undefined) return { element: failed('bad-request') }
      const managed = byId.get(id)
      if (managed === undefined || managed.patience === 0) return { element: missing(id, account) }
      if (!managed.session.account.equals(account)) return { element: missing(id, account) }
      const { session } = managed
      // What its former connection still says is not taken: the device will say it again, as far as `h` does not cover it.
      session.disconnect(new StreamError('conflict', 'resumed elsewhere'))
      const { count, isOurs } = await managed.claim()
      if (!isOurs || isOver(stream)) return { element: missing(id, account) }
      managed.confirmed(h)
      managed.changed()
      try {
        // Its new address may be written down later, with others; what the device counts on may not.
        if (!managed.isStored) await home.commit(managed)
      } catch (error) {
        trouble(error)
        return { element: failed('resource-constraint') }
      }
      if (session.connection !== 'waiting' || isOver(stream)) return { element: missing(id, account) }
      host.count('resumed')
      return { session, element: xml('resumed', { xmlns: NS.SM, previd: id, h: management.counted(count, 0) }) }
    }

    /** §5: how far it had come, where that is still known, and the asker's to know. */
    function missing (id: string, account: Jid): Element {
      const known = ended.get(id)
      return failed('item-not-found', known?.account === account.toString() ? management.counted(known.count, 0) : undefined)
    }

    host.offer({
      namespace: NS.SM,
      // Who has it already is not asked to take it: clients would, and it can be had once.
      offered: ({ identity, state }) => identity === undefined || isManaged(state) ? undefined : xml('sm', { xmlns: NS.SM }),
      async take (stream, request) {
        const { identity } = stream
        const result: Resumed = identity === undefined || localName(request) !== 'resume'
          ? { element: failed('unexpected-request') }
          : await resume(stream, identity.bare, request)
        stream.send(result.element)
        return result.session === undefined ? { go: 'continue' } : { go: 'session', session: result.session }
      },
      // §3: the order is enforced. A session is resumed by whom it is the session of, and enabled once there is one.
      refusal: ({ identity }, request) => {
        const name = localName(request)
        return name === 'enable' || name === 'resume' && identity === undefined ? failed('unexpected-request') : undefined
      },
    })
    host.nonza(NS.SM, 'resume', (_, session) => { session.write(failed('unexpected-request')) })

    host.offerInline({
      at: 'authenticate',
      namespace: NS.SM,
      offered: () => xml('sm', { xmlns: NS.SM }),
      async take ({ stream, account }, request) {
        if (request === undefined || localName(request) !== 'resume') return undefined
        return await resume(stream, account, request)
      },
    })

    // ---- The end ------------------------------------------------------------------------------------------

    host.on(sessionClosed, ({ session }) => {
      const { manager } = session
      if (!(manager instanceof Managed)) return
      stopWaiting(manager)
      dirty.delete(manager)
      ended.set(manager.id, { account: session.account.toString(), count: manager.count })
      const batch = host.batch()
      manager.end(batch)
      leave(manager)
      batch.commit().catch(trouble)
    }, 'observe')

    // ---- Other lives of the process, and of this module -----------------------------------------------------

    host.on(sessionParting, event => {
      if (event.session.manager instanceof Managed && event.session.manager.patience > 0) event.keep = true
    })
    host.on(hostParting, async ({ sessions }) => {
      await Promise.allSettled(beginning)
      const all = sessions.map(({ manager }) => manager).filter(manager => manager instanceof Managed)
      // What its device has not been told it cannot resume.
      for (const { hasBegun, session } of all) if (!hasBegun) session.close(new StreamError('system-shutdown'))
      const parting = all.filter(({ hasBegun }) => hasBegun)
      const batch = host.batch()
      for (const managed of parting) managed.park(batch)
      await batch.commit()
      for (const managed of parting) managed.farewell()
    })

    /**
     * The module is turned off. Whoever waits for a device would do so for ever, and attached devices would go on to count and to ask: they
     * come back, and find that it is not offered. What is not confirmed goes the way of messages to devices that are gone.
     */
    function end (): void {
      for (const { isParked, session } of [...byId.values()]) {
        if (!isParked) session.close(new StreamError('reset', 'stream management is turned off')) // RFC 6120 §4.9.3.16
      }
    }

    host.on(hostRaised, async () => {
      for await (const managed of recall(host, home)) {
        enter(managed)
        wait(managed)
      }
    })

    host.whileUp(() => {
      // Sessions that are here already, where the module was set up anew.
      for (const { manager } of host.sessions.all()) {
        if (!(manager instanceof Managed)) continue
        manager.home = home
        enter(manager)
        if (manager.session.connection === 'waiting') wait(manager)
      }
      return isReplaced => {
        if (!isReplaced) end()
        writing?.cancel()
        void write() // the next life of the module, or of the process, finds what this one knows
        for (const timer of waits.values()) timer.cancel()
        waits.clear()
      }
    })
  },

  /** Sessions that were written down for their devices: these cannot resume any more, and what waits for them goes elsewhere. */
  async forgo (host) {
    await forgo(host, {
      stores: host.stores,
      undelivered: (octets, at, removing) => { undelivered(host, octets, at, removing) },
      submit: write => { submit(host, write) },
    })
  },
})

/** Stores this on its own. */
function submit (host: Pick<ModuleHost, 'batch' | 'log'>, write: Write): void {
  const batch = host.batch()
  batch.add(write)
  batch.commit().catch((error: unknown) => { host.log.warn('session not written down', { error }) })
}

/** Its session is there, and managed from its binding on. */
function isManaged (state: Negotiation['state']): boolean {
  return state.at === 'established' && typeof state.by === 'object' && state.by !== null && 'manager' in state.by && state.by.manager !== undefined
}

/** Asked anew: it may have ended while something was waited for. */
function isOver (stream: Negotiation): boolean { return stream.isOver }
