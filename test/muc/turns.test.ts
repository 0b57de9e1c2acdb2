/** Changes that all in a large room are told of, spread over turns of the event loop. */
import t from 'tap'
import { Turns } from '../../lib/base/turns.js'
import { Drawing } from '../../lib/host/drawing.js'
import type { Element } from '../../lib/xml/element.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { addressed, stanza } from '../../lib/xmpp/stanza.js'
import { xml } from '../../lib/xml/element.js'
import type { Device } from '../scenario.js'
import { asking, changing, codesIn, entering, guest, hall, OWNER, stage } from './stage.js'

t.setTimeout(600_000)

/** Enough that those who go, times those who hear of it, is more than fits in one turn. */
const CROWD = 60

/** Turns that are used up after a few looks at the time. */
const shortTurns = (): Turns => {
  let now = 0
  return new Turns(() => now += 2, 4)
}

/** Does something, and returns the most stanzas that these devices together got in one turn meanwhile. */
async function mostInATurn (devices: readonly Device[], work: () => Promise<unknown>): Promise<number> {
  const heard = (): number => devices.reduce((sum, { unread }) => sum + unread.length, 0)
  let isOver = false
  const working = work().finally(() => { isOver = true })
  let most = 0
  for (let before = heard(); !isOver;) {
    await new Promise(resolve => { setImmediate(resolve) })
    most = Math.max(most, heard() - before)
    before = heard()
  }
  await working
  return most
}

const gone = ({ unread }: Device): readonly Element[] => unread.filter(({ attrs }) => attrs['type'] === 'unavailable')

t.test('what many in a room are told of takes several turns', async t => {
  const s = await stage(t, { turns: shortTurns() })
  const juliet = await hall(s)
  const all: Device[] = []
  for (let n = 0; n < CROWD; n++) all.push(await guest(s, `fool${n}@montague.lit/stage`))
  for (const one of [juliet, ...all]) one.forget()
  const hear = async (isOver: () => boolean): Promise<void> => {
    for (let n = 0; n < 1000 && !isOver(); n++) await s.settled()
  }

  await t.test('many are kicked at once: all see each of them go, once and in order', async t => {
    const [witness] = all.slice(-1)
    if (witness === undefined) throw new Error('nobody')
    const kicked = all.slice(0, -1)
    const items = kicked.map((_, n) => `<item nick='fool${n}' role='none'/>`)
    const most = await mostInATurn([witness], async () => {
      await juliet.asks(changing(...items))
      await hear(() => gone(witness).length === kicked.length)
    })
    t.ok(most < kicked.length, `${most} in one turn`)
    const nicks = kicked.map((_, n) => `fool${n}`)
    for (const one of [juliet, witness]) t.same(gone(one).map(({ attrs }) => String(attrs['from']).split('/')[1]), nicks)
    t.same(new Set(kicked.map(one => codesIn(gone(one).at(-1)).join())), new Set(['110,307']))
    const left = (await juliet.asks(asking("<query xmlns='http://jabber.org/protocol/disco#items'/>", 'get'))).getChild('query')?.getChildren('item')
    t.equal(left?.length, 2)
  })

  await t.test('the room ends', async t => {
    for (const [n, one] of all.slice(0, -1).entries()) await one.says(entering(`fool${n}`))
    for (const one of all) one.forget()
    const most = await mostInATurn(all, async () => {
      await juliet.asks(asking(`<query ${OWNER}><destroy/></query>`))
      await hear(() => all.every(one => gone(one).length > 0))
    })
    t.ok(most < CROWD, `${most} in one turn`)
    t.same(new Set(all.map(one => gone(one).length)), new Set([1]))
  })
})

t.test('a long answer to somebody without a session here, whom nothing slows down, is sent in several turns', async t => {
  const [from, to] = [parseJid('hall@chat.capulet.lit'), parseJid('puck@fairies.lit/wood')]
  let sent = 0
  const pieces = Array.from({ length: 200 }, () => addressed(stanza(xml('presence'), from, to), to))
  const over = new Drawing(undefined, pieces, () => { sent++ }, shortTurns()).run()
  t.ok(sent < 200, `${sent} in the first turn`)
  t.equal(await over, true)
  t.equal(sent, 200)
})
