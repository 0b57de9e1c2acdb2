/**
 * A short scene in Verona by which a release fills its data folder, and the facts that any later build has to find
 * there.
 */
import type { Running } from '../../lib/main.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { asks } from '../admin/world.js'
import { DOMAIN, PASSWORD } from '../crash/line.js'
import { Person, type Resumable } from './person.js'

/**
 * The contents of a data folder, stored beside it and read by every later build. Facts that a newer release adds are
 * missing in older ones.
 */
export interface Facts {
  readonly version: string
  /** When the server was stopped, in milliseconds since 1970. */
  readonly left: number
  /** Sessions that can be resumed, with the stanzas that their devices have missed. */
  readonly sessions: readonly (Resumable & { readonly missed: readonly string[] })[]
  /** Accounts that log in by the password of all tests. */
  readonly accounts: readonly string[]
  /** By account: contacts, each by address, name, subscription, groups. */
  readonly rosters: Readonly<Record<string, readonly (readonly string[])[]>>
  /** By account: messages in the offline store, and those in the archive, the oldest first. */
  readonly offline: Readonly<Record<string, readonly string[]>>
  readonly archives: Readonly<Record<string, readonly string[]>>
  /** By account: a search in the archive, and its results. */
  readonly searches: Readonly<Record<string, readonly [words: string, found: readonly string[]]>>
  /** By account: requests, and a word that is in the answer. */
  readonly answers: Readonly<Record<string, readonly (readonly [question: string, word: string])[]>>
  /** Commands of the operator, and a word that is in the answer. */
  readonly commands: readonly (readonly [command: string, args: readonly string[], word: string])[]
  /** By account: a token that a client logs in by (XEP-0484). */
  readonly tokens: Readonly<Record<string, string>>
}

const to = (user: string): string => `${user}@${DOMAIN}`
const message = (user: string, text: string): string => `<message to='${to(user)}' type='chat' id='${text}'><body>${text}</body></message>`
const presence = (user: string, type: string): string => `<presence to='${to(user)}' type='${type}'/>`
const ITEM = `<query xmlns='jabber:iq:roster'><item jid='${to('juliet')}' name='Juliet ♥'><group>Verona</group></item></query>`
const CARD = "<vCard xmlns='vcard-temp'><FN>Romeo Montague</FN></vCard>"
const NOTES = "<query xmlns='jabber:iq:private'><notes xmlns='urn:verona'>by the garden wall</notes></query>"
const BLOCK = `<block xmlns='urn:xmpp:blocking'><item jid='${to('tybalt')}'/></block>`
const PUSH = "<enable xmlns='urn:xmpp:push:0' jid='push.example' node='a window'/>"
const PREFERENCES = `<prefs xmlns='urn:xmpp:mam:2' default='always'><always/><never><jid>${to('tybalt')}</jid></never></prefs>`

/** Plays the scene on a running server, which has to be stopped afterwards. Returns the facts. */
export async function live (running: Running, version: string, left: number): Promise<Facts> {
  const portOf = (wanted: string): number => running.listening.find(({ tls }) => tls === wanted)?.port ?? 0
  const port = portOf('none')
  for (const user of ['romeo', 'juliet', 'nurse', 'rosaline']) await running.server.host(DOMAIN)?.createAccount(parseJid(to(user)), PASSWORD)
  const romeo = await arrive(port, 'romeo', 'orchard')
  const juliet = await arrive(port, 'juliet', 'balcony')
  await befriend(romeo, juliet)
  for (const payload of [CARD, NOTES, BLOCK, PREFERENCES]) await romeo.asks(payload)
  await asks(running.server, 'mam', [to('romeo'), 'keep', '1234'])
  const rosaline = await arrive(port, 'rosaline', 'window')
  await rosaline.asks(PUSH)
  await rosaline.leaves()

  await romeo.says(message('juliet', 'But soft'))
  await juliet.gets('message But soft')
  juliet.acknowledges()
  await romeo.says(message('juliet', 'It is the east'), message('juliet', '朱丽叶 is the sun'))
  await juliet.gets('message 朱丽叶 is the sun')
  await juliet.says(message('nurse', 'Anon, good nurse'), message('romeo', 'Ay me'))
  await romeo.gets('message Ay me')
  romeo.acknowledges()
  await romeo.says()
  await romeo.loses()
  await juliet.says(message('romeo', 'Wherefore art thou'))
  const missedByJuliet = juliet.unacknowledged
  await juliet.loses()

  const spoken = ['But soft', 'It is the east', '朱丽叶 is the sun']
  return {
    version,
    left,
    sessions: [
      { ...romeo.resumable, missed: [...romeo.unacknowledged, 'message Wherefore art thou'] },
      { ...juliet.resumable, missed: missedByJuliet },
    ],
    accounts: ['romeo', 'juliet', 'nurse', 'rosaline'],
    rosters: { romeo: [[to('juliet'), 'Juliet ♥', 'both', 'Verona']], juliet: [[to('romeo'), '', 'both']], nurse: [], rosaline: [] },
    offline: { nurse: ['message Anon, good nurse'] },
    archives: {
      romeo: [...spoken, 'Ay me', 'Wherefore art thou'],
      juliet: [...spoken, 'Anon, good nurse', 'Ay me', 'Wherefore art thou'],
      nurse: ['Anon, good nurse'],
    },
    searches: { juliet: ['丽叶', ['朱丽叶 is the sun']], romeo: ['east', ['It is the east']] },
    answers: { romeo: [
      ["<vCard xmlns='vcard-temp'/>", 'Romeo Montague'],
      ["<query xmlns='jabber:iq:private'><notes xmlns='urn:verona'/></query>", 'by the garden wall'],
      ["<blocklist xmlns='urn:xmpp:blocking'/>", to('tybalt')],
      ["<prefs xmlns='urn:xmpp:mam:2'/>", to('tybalt')],
    ] },
    commands: [['mam', [to('romeo')], '1234'], ['push', [to('rosaline')], 'push.example'], ['user show', [to('juliet')], 'SCRAM-SHA-256']],
    tokens: { juliet: await Person.isGivenToken(portOf('direct'), 'juliet') },
  }
}

async function arrive (port: number, user: string, resource: string): Promise<Person> {
  const person = await Person.arrives(port, user, resource)
  await person.isManaged()
  await person.asks("<enable xmlns='urn:xmpp:carbons:2'/>")
  await person.says('<presence/>')
  return person
}

async function befriend (romeo: Person, juliet: Person): Promise<void> {
  await romeo.asks(ITEM)
  await romeo.says(presence('juliet', 'subscribe'))
  await juliet.gets('presence subscribe')
  await juliet.says(presence('romeo', 'subscribed'), presence('romeo', 'subscribe'))
  await romeo.gets('presence subscribe')
  await romeo.says(presence('juliet', 'subscribed'))
  await juliet.says()
}
