/** Floods from another server: no turn of the event loop takes long, and no stanza is dropped. */
import { Turns } from '../../lib/base/turns.js'
import { DOMAIN_BUDGET } from '../../lib/host/cost.js'
import { TurnMeter, turnsStayShort } from '../hostile/turns.js'
import { OURS, scene, THEIRS } from './stage.js'

const STANZAS = 4000
const PIECE = 400
/** The time in which the budget of a domain is full again, in milliseconds. */
const REFILL = 10_000
/** The cost of a stanza that reaches nobody, in units. */
const EACH = 4

const FLOODS: Readonly<Record<string, (n: number) => string>> = {
  'presence': n => `<presence from='tybalt@${THEIRS}/x' to='nobody${n}@${OURS}'><status>${n}</status></presence>`,
  'probes': n => `<presence from='tybalt@${THEIRS}/x' to='nobody${n}@${OURS}' type='probe'/>`,
  'requests that nobody answers': n => `<iq from='tybalt@${THEIRS}/x' to='nobody${n}@${OURS}' type='get' id='q${n}'><query xmlns='a:b'/></iq>`,
  'requests': n => `<iq from='tybalt@${THEIRS}/x' to='${OURS}' type='get' id='q${n}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`,
}

for (const [what, stanza] of Object.entries(FLOODS)) {
  scene(`a flood of ${what} from another server does not block the event loop, and all of it is handled`, async (t, net) => {
    // as in the shipped conf file: the log has no line for each step
    const ours = await net.town(OURS, { scene: { turns: new Turns(), debug: false } })
    const peer = await net.peer(THEIRS)
    const line = await peer.enters(ours, THEIRS, OURS)
    const flood = Array.from({ length: STANZAS }, (_, n) => stanza(n))
    const meter = new TurnMeter()
    meter.start()
    await turnsStayShort(t, async () => {
      await net.pass(REFILL)
      meter.take()
      // In pieces of the size in which a socket is read.
      for (let n = 0; n < STANZAS; n += PIECE) {
        await line.says(flood.slice(n, n + PIECE).join(''))
        await new Promise(resolve => { setImmediate(resolve) })
      }
      const spent = (): number => DOMAIN_BUDGET.rate * 10 - ours.world.budgets.of(THEIRS).level
      for (let turn = 0; turn < 10_000 && spent() < STANZAS * EACH; turn++) {
        await new Promise(resolve => { setImmediate(resolve) })
      }
      await net.settled()
      const { worst, count } = meter.take()
      t.comment(`the turns used ${worst.toFixed(1)} ms at most; ${count} turns`)
      t.ok(spent() >= STANZAS * EACH, `${spent()} units`)
      t.notOk(line.isClosed)
      return worst
    })
    meter.stop()
  })
}
