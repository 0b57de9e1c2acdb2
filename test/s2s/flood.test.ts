/** Floods from another server: no turn of the event loop takes long, and nothing that was sent is dropped. */
import { Turns } from '../../lib/base/turns.js'
import { DOMAIN_BUDGET } from '../../lib/host/cost.js'
import { TurnMeter } from '../hostile/turns.js'
import { OURS, scene, THEIRS } from './stage.js'

/** CPU time of the main thread that one turn of the event loop may use: milliseconds. */
const LONGEST_TURN = 50
const STANZAS = 4000
const PIECE = 400
/** Units of a stanza that reaches nobody. */
const EACH = 4

const FLOODS: Readonly<Record<string, (n: number) => string>> = {
  'presence': n => `<presence from='tybalt@${THEIRS}/x' to='nobody${n}@${OURS}'><status>${n}</status></presence>`,
  'probes': n => `<presence from='tybalt@${THEIRS}/x' to='nobody${n}@${OURS}' type='probe'/>`,
  'requests that nobody answers': n => `<iq from='tybalt@${THEIRS}/x' to='nobody${n}@${OURS}' type='get' id='q${n}'><query xmlns='a:b'/></iq>`,
  'requests': n => `<iq from='tybalt@${THEIRS}/x' to='${OURS}' type='get' id='q${n}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`,
}

for (const [what, stanza] of Object.entries(FLOODS)) {
  scene(`a flood of ${what} from another server leaves the event loop to others, and all of it is taken`, async (t, net) => {
    const ours = await net.town(OURS, { scene: { turns: new Turns() } })
    const peer = await net.peer(THEIRS)
    const line = await peer.enters(ours, THEIRS, OURS)
    const flood = Array.from({ length: STANZAS }, (_, n) => stanza(n))
    const meter = new TurnMeter()
    meter.start()
    meter.take()
    // In pieces of the size in which a socket is read.
    for (let n = 0; n < STANZAS; n += PIECE) {
      await line.says(flood.slice(n, n + PIECE).join(''))
      await new Promise(resolve => { setImmediate(resolve) })
    }
    const spent = (): number => DOMAIN_BUDGET.rate * 10 - ours.world.budgets.of(THEIRS).level
    for (let turn = 0; turn < 10_000 && spent() < STANZAS * EACH; turn++) await new Promise(resolve => { setImmediate(resolve) })
    await net.settled()
    const { worst, count } = meter.take()
    meter.stop()
    t.comment(`the turns used ${worst.toFixed(1)} ms at most; ${count} turns`)
    t.ok(spent() >= STANZAS * EACH, `${spent()} units`)
    t.ok(worst < LONGEST_TURN, `a turn of the event loop used ${worst.toFixed(1)} ms of CPU`)
    t.notOk(line.isClosed)
  })
}
