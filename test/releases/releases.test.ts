/** The current build goes on with the data of each release: an upgrade loses no account, no message and no session. */
import { copyFileSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { VERSION } from '../../lib/base/package.js'
import type { Running } from '../../lib/main.js'
import type { Element } from '../../lib/xml/element.js'
import { asks } from '../admin/world.js'
import { DOMAIN } from '../crash/line.js'
import { FIXTURES, startAt } from './build.js'
import { fill } from './dump.js'
import type { Facts } from './life.js'
import { Person } from './person.js'
import { temporaryFolder } from '../temporary-folder.js'

const MINUTE = 60_000
const ENDS = ['stopped', 'killed'] as const

t.setTimeout(1_200_000)

const releases = readdirSync(FIXTURES).sort()

t.test('each release has saved its data', t => {
  t.ok(releases.length > 0)
  if (!VERSION.includes('-')) t.ok(releases.includes(VERSION), 'node dist/test/releases/make.js')
  t.end()
})

for (const release of releases) {
  const facts = JSON.parse(readFileSync(join(FIXTURES, release, 'facts.json'), 'utf8')) as Facts
  for (const end of ENDS) {
    t.test(`this build goes on with the data folder of ${release}, whose server was ${end}: sessions, messages, accounts`, async t => {
      const { running, errors } = await upgraded(t, release, end, facts)
      const port = (wanted: string): number => running.listening.find(({ tls }) => tls === wanted)?.port ?? 0

      const back: Person[] = []
      for (const session of facts.sessions) back.push(await Person.returns(port('none'), session))
      for (const [index, person] of back.entries()) {
        await person.says()
        t.same(person.got, facts.sessions[index]?.missed, `${person.user} gets what was missed, and nothing else: no presence has changed`)
        person.acknowledges() // what a session leaves unacknowledged waits for the next device
      }
      for (const person of back) await person.leaves()
      for (const user of facts.accounts) {
        const person = await Person.arrives(port('none'), user, 'later')
        await checkAnswers(t, person, facts)
        await person.isManaged()
        await person.says('<presence/>')
        await person.says(`<message to='${user}@${DOMAIN}' type='chat'><body>a later message</body></message>`)
        await person.gets('message a later message')
        const offline = [...facts.offline[user] ?? [], 'message a later message']
        t.same(person.got.filter(words => words.startsWith('message ')), offline, `the offline messages of ${user}, before all later ones`)
        await person.leaves()
      }
      for (const [user, token] of Object.entries(facts.tokens)) t.ok(await Person.entersBy(port('direct'), user, token), `the token of ${user} is valid`)
      for (const [command, args, word] of facts.commands) {
        t.match(JSON.stringify(await asks(running.server, command, args)), word, `${command} ${args.join(' ')}`)
      }
      t.same(errors, [])
    })
  }
}

interface Upgraded { readonly running: Running, readonly errors: readonly string[] }

/** Starts this build on the release's folder, a minute later. */
async function upgraded (t: Test, release: string, end: typeof ENDS[number], { left }: Facts): Promise<Upgraded> {
  const folder = temporaryFolder(t)
  copyFileSync(join(FIXTURES, release, 'sestina.toml'), join(folder, 'sestina.toml'))
  mkdirSync(join(folder, 'data'))
  fill(join(folder, 'data', 'sestina.db'), readFileSync(join(FIXTURES, release, `${end}.sql`), 'utf8'))
  const errors: string[] = []
  const running = await startAt(folder, left + MINUTE, errors)
  t.teardown(() => running.stop())
  return { running, errors }
}

async function checkAnswers (t: Test, person: Person, facts: Facts): Promise<void> {
  const { user } = person
  const roster = (await person.asks("<query xmlns='jabber:iq:roster'/>", 'get')).getChild('query')?.getChildren('item') ?? []
  t.same(roster.map(contactOf), facts.rosters[user], `the contacts of ${user}`)
  t.same(await archived(person), (facts.archives[user] ?? []).map(text => `archived ${text}`), `the archive of ${user}`)
  const [words, found = []] = facts.searches[user] ?? []
  if (words !== undefined) t.same(await archived(person, words), found.map(text => `archived ${text}`), `${user} finds messages by ${words}`)
  for (const [question, word] of facts.answers[user] ?? []) t.match((await person.asks(question, 'get')).toString(), word)
}

function contactOf ({ attrs, children }: Element): readonly string[] {
  const groups = children.flatMap(child => typeof child === 'string' ? [] : child.getText())
  return [String(attrs['jid']), String(attrs['name'] ?? ''), String(attrs['subscription']), ...groups]
}

/** Returns the messages in the person's archive, or those that a search for these words finds. */
async function archived (person: Person, words?: string): Promise<readonly string[]> {
  const search = words === undefined ? '' : "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>" +
    `<field var='{urn:xmpp:fulltext:0}fulltext'><value>${words}</value></field></x>`
  person.got.length = 0
  await person.asks(`<query xmlns='urn:xmpp:mam:2'>${search}</query>`)
  return person.got.filter(text => text.startsWith('archived '))
}
