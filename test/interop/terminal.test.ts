/** People at a terminal: profanity, a client on libstrophe, and go-sendxmpp, one in Go, talk with each other. */
import t from 'tap'
import { missing, Program, run } from './process.js'
import { homeOf, profanity } from './profanity.js'
import { startServer } from './server.js'

const skip = missing({ profanity: 'profanity', 'go-sendxmpp': 'go-sendxmpp', tmux: 'tmux', openssl: 'openssl' })
const PASSWORD = 'a-secret-of-Verona'

t.setTimeout(1_200_000)

t.test('people at a terminal can talk', { skip }, async t => {
  const server = await startServer(t)
  for (const local of ['romeo', 'juliet', 'nurse']) await server.addUser(local, PASSWORD)
  const jid = (local: string): string => `${local}@${server.domain}`
  const home = (name: string): Record<string, string> => homeOf(server, name)
  const goArgs = (local: string): string[] => ['--username', jid(local), '--password', PASSWORD, '--jserver']
  const starttls = `${server.domain}:${server.port}`

  t.test('a message that go-sendxmpp sends over direct TLS arrives at another one over STARTTLS', async t => {
    const nurse = new Program('go-sendxmpp', [...goArgs('nurse'), starttls, '--debug', '--listen'], { env: home('nurse') })
    t.teardown(() => nurse.stop())
    await nurse.says(/<presence/)
    await run('go-sendxmpp', [...goArgs('juliet'), `${server.domain}:${server.directPort}`, '--tls', jid('nurse')],
      { env: home('juliet-sends'), input: 'What says he of our marriage?\n' })
    const [heard] = await nurse.says(/^.*juliet@.*What says he of our marriage\?/m)
    t.match(heard, jid('juliet'))
  })

  t.test('a person logs in with profanity, sends a message, and gets one', async t => {
    const listener = new Program('go-sendxmpp', [...goArgs('juliet'), starttls, '--debug', '--listen'], { env: home('juliet') })
    t.teardown(() => listener.stop())
    await listener.says(/<presence/)
    const romeo = await profanity(t, server, 'romeo', PASSWORD)

    await romeo.enter(`/msg ${jid('juliet')} By a name I know not how to tell thee who I am`)
    await listener.says(/romeo@.*By a name I know not how to tell thee who I am/)

    await run('go-sendxmpp', [...goArgs('juliet'), starttls, jid('romeo')], { env: home('juliet-answers'), input: 'Art thou not Romeo?\n' })
    t.match(await romeo.shows(/Art thou not Romeo\?/), /By a name I know not/, 'both sides of the conversation are on the screen')
    await romeo.enter('/disconnect')
    t.match(await romeo.shows(/logged out/), /\[offline\]/)
  })
})
