/**
 * A message in transit while its recipient's first device becomes available reaches that device, whatever delays the
 * message.
 */
import t, { type Test } from 'tap'
import { defineModule, messageAddressed, messageArriving } from '../../lib/api.js'
import { scenario, type Device, type Scenario } from '../scenario.js'
import { bothWays, enable } from '../managed.js'
import { archivedBodies, bodies } from '../stanzas.js'

const chat = (text: string, to = 'juliet@capulet.lit'): string => `<message to='${to}' type='chat'><body>${text}</body></message>`

/** Returns a module that delays each message until its gate opens: before its recipients are chosen, or after. */
function gates () {
  const open = new Map<string, () => void>()
  const closed = (text: string | null | undefined, place: string): Promise<void> | undefined =>
    text?.startsWith(place) === true ? new Promise(resolve => { open.set(text, resolve) }) : undefined
  const module = defineModule({
    name: 'gates',
    about: 'Has messages wait, for tests.',
    setup (host) {
      host.on(messageArriving, ({ message }) => closed(message.element.getChildText('body'), 'early'), 'screen')
      host.on(messageAddressed, ({ message }) => closed(message.element.getChildText('body'), 'late'), 'stamp')
    },
  })
  return { module, open: (text: string): void => { open.get(text)?.() } }
}

/** Where a message can be delayed while the presence arrives. */
const WAITS = ['commit', 'early', 'late', 'another'] as const

async function stage (t: Test, isManaged: boolean, others: readonly string[] = []) {
  const { module, open } = gates()
  const s = await scenario(t, { modules: ['presence', 'message', 'offline', 'stream-management', ...others, module] })
  const romeo = await s.device('romeo@montague.lit/orchard')
  await s.account('nurse@capulet.lit')
  const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
  if (isManaged) await enable(juliet)
  const tybalt = await s.device('tybalt@capulet.lit/square', { presence: false })
  return { s, romeo, juliet, tybalt, open }
}

/** Makes a message from romeo wait there. Returns the function that releases it. */
async function wait (
  s: Scenario, romeo: Device, where: typeof WAITS[number], open: (text: string) => void,
): Promise<() => void> {
  switch (where) {
    case 'commit':
      s.storage.hold()
      await romeo.says(chat('commit'))
      return () => { s.storage.release() }
    case 'early': case 'late':
      await romeo.says(chat(where))
      return () => { open(where) }
    case 'another': // it waits for another message of the same sender
      await romeo.says(chat('late to nurse', 'nurse@capulet.lit'), chat('another'))
      return () => { open('late to nurse') }
  }
}

bothWays('a message in transit when the first device becomes available arrives at once, before later messages', async (t, isManaged) => {
  for (const where of WAITS) {
    await t.test(`the message waits: ${where}`, async t => {
      const { s, romeo, juliet, tybalt, open } = await stage(t, isManaged)
      const go = await wait(s, romeo, where, open)
      await juliet.says('<presence/>')
      await tybalt.says(chat('next'))
      go()
      for (let rounds = 0; rounds < 3; rounds++) await s.settled()
      t.same(bodies(juliet), [where, 'next'])
      t.notOk((await s.traces('juliet@capulet.lit')).includes('offline.messages'))
    })
  }
})

bothWays('two accounts whose first devices become available while messages cross do not wait for each other', async (t, isManaged) => {
  const { s, romeo, juliet, tybalt, open } = await stage(t, isManaged)
  const nurse = await s.device('nurse@capulet.lit/house', { presence: false })
  await romeo.says(chat('late 1', 'nurse@capulet.lit'), chat('one'))
  await tybalt.says(chat('late 2'), chat('two', 'nurse@capulet.lit'))
  await juliet.says('<presence/>')
  await nurse.says('<presence/>')
  open('late 1')
  await s.settled()
  open('late 2')
  for (let rounds = 0; rounds < 3; rounds++) await s.settled()
  t.same([...bodies(juliet)].sort(), ['late 2', 'one'])
  t.same([...bodies(nurse)].sort(), ['late 1', 'two'])
})

t.test('an archive query returns every message that is too late to be sent to the new device', async t => {
  const { s, romeo, juliet, open } = await stage(t, false, ['mam', 'carbons'])
  const chamber = await s.device('juliet@capulet.lit/chamber')
  await romeo.says(chat('late to chamber', 'juliet@capulet.lit/chamber'))
  await juliet.says("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>", '<presence/>', "<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>")
  open('late to chamber')
  for (let rounds = 0; rounds < 3; rounds++) await s.settled()
  t.same(bodies(chamber), ['late to chamber'])
  const copied = juliet.unread.flatMap(element => element.getChild('received')?.getChild('forwarded')?.getChild('message')?.getChildText('body') ?? [])
  t.same([...new Set([...archivedBodies(juliet), ...copied])], ['late to chamber'])
})
