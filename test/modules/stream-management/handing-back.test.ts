/** An ended session hands back what its device did not acknowledge, and does not hold the event loop meanwhile. */
import t, { type Test } from 'tap'
import { inTurns, Turns } from '../../../lib/base/turns.js'
import { HandingBack } from '../../../modules/stream-management/handing-back.js'
import { scenario, type Scenario } from '../../scenario.js'
import { bodies, managedCouple, MODULES, toJuliet } from './stage.js'

const MIB = 1024 * 1024
const JULIET = 'juliet@capulet.lit'

/** Turns that are used up at once while `isBusy`. What waits for a later one runs in `goOn`. */
class HeldTurns extends Turns {
  isBusy = false
  readonly #held: (() => void)[] = []
  override get isSpent (): boolean { return this.isBusy }
  override later (work: () => void): void { this.#held.push(work) }

  goOn (): void {
    this.isBusy = false
    for (const work of this.#held.splice(0)) work()
  }
}

/** Returns a scene in which the managed session of a device has ended, and 4 of 10 messages to it are handed back. */
async function handingBack (t: Test) {
  const turns = new HeldTurns()
  const s = await scenario(t, { modules: MODULES, turns })
  const { romeo, juliet } = await managedCouple(s)
  const texts = Array.from({ length: 10 }, (_, n) => `text ${n}`)
  await romeo.says(...texts.map(text => toJuliet(text)))
  turns.isBusy = true
  await juliet.loses('connection')
  await s.pass('1h') // the session is not resumed in time
  return { s, turns, texts }
}

/** Returns the messages that wait for the account. */
async function found (s: Scenario): Promise<string[]> {
  const device = await s.device(`${JULIET}/chamber`, { presence: false })
  await device.says('<presence/>')
  return bodies(device)
}

t.test('an ended session hands back its stanzas in several turns of the event loop, in order, each once', async t => {
  const { s, turns, texts } = await handingBack(t)
  turns.goOn()
  await s.pass('1s')
  t.same(await found(s), texts)
  t.same((await s.traces(JULIET)).filter(name => name.startsWith('stream-management.')), [], 'nothing of the session is left')
})

t.test('a crash in the middle of that loses none and doubles none', async t => {
  const { s, turns, texts } = await handingBack(t)
  const next = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: s.storage.remains() })
  t.same((await found(next)).sort(), texts)
  turns.goOn()
})

t.test('a planned stop waits until all is handed back', async t => {
  const { s, turns, texts } = await handingBack(t)
  const stopped = s.end()
  turns.goOn()
  await stopped
  const next = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: s.storage })
  t.same(await found(next), texts)
})

t.test('the module hands back what waits before it is turned off', async t => {
  const { s, turns, texts } = await handingBack(t)
  await s.turnsOff('stream-management')
  t.same(await s.traces(JULIET), ['offline.messages'])
  turns.goOn()
  t.same(await found(s), texts, 'what waited for its turn does nothing any more')
})

t.test('what waits is bounded in bytes: more is handed back at once', async t => {
  const turns = new HeldTurns()
  const handing = new HandingBack((items, work, atOnce) => inTurns(turns, items, work, atOnce))
  const back: number[] = []
  const items = [1, 2, 3, 4, 5, 6]
  turns.isBusy = true
  const first = handing.run(items, 30 * MIB, n => { back.push(n) })
  t.same(back, [1, 2, 3, 4])
  t.equal(handing.run(items.map(n => n * 10), 3 * MIB, n => { back.push(n) }), undefined)
  t.same(back, [1, 2, 3, 4, 10, 20, 30, 40, 50, 60])
  await Promise.resolve()
  await Promise.resolve()
  turns.goOn()
  await first
  t.same(back.slice(-2), [5, 6])
  turns.isBusy = true
  t.not(handing.run(items, 30 * MIB, n => { back.push(n) }), undefined, 'the bytes are free again')
  handing.hurry()
  t.same(back.slice(-6), items)
  turns.goOn()
  await handing.settled()
  t.same(back.slice(-6), items, 'nothing is handed back twice')
})
