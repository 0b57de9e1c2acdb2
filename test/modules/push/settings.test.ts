/** XEP-0492: the settings in bookmarks decide which messages of a chat trigger push notifications. */
import t from 'tap'
import { form, outcome, pubsub } from '../../pubsub/stage.js'
import type { Device, Scenario } from '../../scenario.js'
import { chat, counted, MODULES, PROPOSE, PUSHED, stage, type App } from './stage.js'

const ALL = [...MODULES, 'caps', 'pep', 'private', 'bookmarks']
const BOOKMARKS = 'urn:xmpp:bookmarks:1'
const ROOM = 'friar@rooms.lit'

type Form = Readonly<Record<string, string>>
interface Cast {
  readonly s: Scenario
  readonly laptop: Device
  readonly app: App
  says (text: string): Promise<void>
  /** Answers the next notification, and returns its form. */
  hears (): Promise<Form>
}

/** Juliet's phone, which is in a room and away, and her laptop, which sets what the phone is told. */
async function cast (t: Parameters<typeof stage>[0], push: Record<string, unknown> = {}): Promise<Cast> {
  const { s, phone, app } = await stage(t, { push, modules: ALL })
  const room = await s.device(`${ROOM}/desk`)
  await phone.says("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
  await phone.says(`<presence to='${ROOM}/Jule'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
  await phone.loses('connection')
  const laptop = await s.device('juliet@capulet.lit/laptop', { presence: false })
  const says = async (text: string): Promise<void> => {
    await room.says(`<message to='juliet@capulet.lit/phone' type='groupchat'><body>${text}</body></message>`)
    await s.pass('5s')
  }
  const hears = async (): Promise<Form> => {
    const form = await app.takes()
    await s.pass('31s') // until the next notification may come
    return form
  }
  return { s, laptop, app, says, hears }
}

/** Writes a bookmark with these settings. */
async function sets (device: Device, id: string, settings: string): Promise<void> {
  const notify = `<notify xmlns='urn:xmpp:notification-settings:1'>${settings}</notify>`
  const item = `<item id='${id}'><conference xmlns='${BOOKMARKS}'><extensions>${notify}</extensions></conference></item>`
  const options = `<publish-options>${form('publish-options', { max_items: 'max', access_model: 'whitelist' })}</publish-options>`
  const reply = await pubsub(device, 'set', `<publish node='${BOOKMARKS}'>${item}</publish>${options}`)
  if (outcome(reply) !== 'result') throw new Error(reply.toString())
}

t.test('a setting for a room comes before that of the operator, from the next message on, until it is removed', async t => {
  const { laptop, app, says, hears } = await cast(t)
  await says('good morrow')
  await app.hearsNothing()
  await sets(laptop, ROOM, '<always/>')
  await says('good morrow')
  t.same(await hears(), PUSHED)
  await sets(laptop, ROOM, '<never/>')
  await says('good morrow, jule!')
  await app.hearsNothing()
  await sets(laptop, ROOM, '<on-mention/>')
  await says('good morrow')
  await app.hearsNothing()
  await says('good morrow, jule!')
  t.same(await hears(), counted(2))
  await sets(laptop, ROOM, '<always/>')
  await pubsub(laptop, 'set', `<retract node='${BOOKMARKS}' notify='1'><item id='${ROOM}'/></retract>`)
  await says('good morrow')
  await app.hearsNothing()
  await sets(laptop, ROOM, '<always/>')
  await pubsub(laptop, 'set', `<purge node='${BOOKMARKS}'/>`, { owner: true })
  await says('good morrow')
  await app.hearsNothing()
})

t.test('§3 the most specific setting counts: that of phones, of clients, of all', async t => {
  const { laptop, app, says, hears } = await cast(t)
  const pc = "<always identity-category='client' identity-type='pc'/><always identity-category='gateway'/><always identity-type='phone'/>"
  const client = "<always identity-category='client'/>"
  const phone = "<never identity-category='client' identity-type='phone'/>"
  await sets(laptop, ROOM, `${pc}<never/>`)
  await says('good morrow, jule!')
  await app.hearsNothing()
  await sets(laptop, ROOM, `${pc}<never/>${client}`)
  await says('good morrow')
  t.same(await hears(), PUSHED)
  await sets(laptop, ROOM, `${pc}<always/>${client}${phone}`)
  await says('good morrow, jule!')
  await app.hearsNothing()
})

t.test('an operator who allows no notifications of rooms has the last word', async t => {
  const { laptop, app, says } = await cast(t, { rooms: 'never' })
  await sets(laptop, ROOM, '<always/>')
  await says('good morrow, jule!')
  await app.hearsNothing()
})

t.test('a single contact can be silenced, except for calls', async t => {
  const { s, laptop, app, hears } = await cast(t)
  const romeo = await s.device('romeo@montague.lit/street')
  await sets(laptop, 'romeo@montague.lit', '<never/>')
  await romeo.says(chat('good morrow'))
  await s.pass('5s')
  await app.hearsNothing()
  await romeo.says(PROPOSE)
  t.same(await hears(), PUSHED)
})
