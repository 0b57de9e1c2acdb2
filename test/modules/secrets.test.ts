/**
 * No log line holds a password, a token or a body. Each scene of the whole run is scanned, and the scan finds a planted
 * secret.
 */
import t from 'tap'
import { Secrets, STAGE_PASSWORD } from '../secrets.js'
import { startServer } from '../scenario.js'

t.test('a planted secret is found in a line of any level, in a field, in an error and in its cause', async t => {
  const s = await startServer({ modules: ['message'], hosts: ['capulet.lit'] })
  const romeo = await s.device('romeo@capulet.lit/orchard')
  await s.device('juliet@capulet.lit/balcony')
  const BODY = 'wherefore art thou Romeo'
  await romeo.says(`<message to='juliet@capulet.lit/balcony' type='chat'><body>${BODY}</body></message>`)
  s.checkSecrets()
  const planted: readonly (readonly [string, () => void])[] = [
    ['a body at debug', () => { s.log.debug('sent', { stanza: `<body>${BODY}</body>` }) }],
    ['a password in an error', () => { s.log.warn('login failed', { error: new Error(`not the password ${STAGE_PASSWORD}`) }) }],
    ['a body in the cause of an error', () => { s.log.info('x', { error: new Error('x', { cause: new Error(BODY) }) }) }],
    ['a password in a property of an error', () => { s.log.info('x', { error: Object.assign(new Error('x'), { given: { password: STAGE_PASSWORD } }) }) }],
    ['a body in a field of the logger', () => { s.log.with({ last: BODY }).info('x') }],
  ]
  for (const [what, plant] of planted) {
    const before = s.lines.length
    plant()
    t.throws(() => { s.checkSecrets() }, /holds '/, what)
    s.lines.length = before
  }
  s.checkSecrets()
  await s.end()
})

t.test('bodies, passwords and tokens in the stanzas of a device count as secrets', t => {
  const secrets = new Secrets()
  secrets.heard("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHJvbWVvAHNlY3JldA==</auth>")
  secrets.heard("<iq><query xmlns='jabber:iq:register'><username>romeo.montague</username><password>a new secret one</password></query></iq>")
  t.equal(secrets.inText('x AHJvbWVvAHNlY3JldA== y'), 'AHJvbWVvAHNlY3JldA==')
  t.equal(secrets.inText('"a new secret one"'), 'a new secret one')
  t.equal(secrets.inText('romeo.montague'), undefined)
  t.end()
})
