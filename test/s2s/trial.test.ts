/** `sestina s2s test`: each way in which a connection can fail is reported in plain words, with who has to mend it. */
import { testLink } from '../../lib/s2s/link-check.js'
import { BIDI, DIALBACK, DnsError, EXTERNAL, NoServer, OURS, SUCCESS, THEIRS, dns, header, scene, type Net, type Town } from './stage.js'

type Steps = Awaited<ReturnType<typeof testLink>>
const OUTSIDE = 'the operators of capulet.test'

async function tries (net: Net, ours: Town, meanwhile: () => Promise<void> = () => Promise.resolve()): Promise<Steps> {
  const steps = testLink(ours.world, ours.links, OURS, THEIRS)
  await net.settled()
  await meanwhile()
  for (let n = 0; n < 8; n++) await net.pass(10_000)
  return await steps
}

const brief = (steps: Steps): string => steps.map(({ step, ok }) => `${step}${ok ? '' : '!'}`).join(' ')

scene('a test of a working server reports each step', async (t, net) => {
  const ours = await net.town(OURS)
  const theirs = await net.town(THEIRS)
  const steps = await tries(net, ours)
  t.equal(brief(steps), 'dns tcp tls certificate features authentication ping verdict')
  t.match(steps.map(({ says }) => says), [/198\.51\.100\.2/, /^connected to/, /TLS/, /^valid for capulet\.test$/, /mechanisms, bidi, dialback, sm, limits/, /EXTERNAL, both directions/, 'answered', /from montague\.test to capulet\.test/])
  t.ok(steps.every(({ mend }) => mend === ''))
  t.strictSame(ours.links.report(), [], 'the test leaves no link')
  t.equal(theirs.listener.counts.connections, 0)
  const wrongHost = await testLink(ours.world, ours.links, OURS, 'nowhere.test')
  t.equal(brief(wrongHost), 'dns! verdict!')
})

scene('a failed step is reported with its cause and with who has to mend it', async (t, net) => {
  const ours = await net.town(OURS)
  const at = (address: string) => [{ host: 'xmpp.capulet.test', address, port: 5269, tls: 'required' as const, secure: false }]
  const cases: readonly (readonly [string, () => void, string, RegExp, RegExp])[] = [
    ['no server in DNS', () => net.names.set(THEIRS, new NoServer('no XMPP server, says DNS')), 'dns! verdict!', /DNS names no server \(no XMPP server/, /^the operators of/],
    ['DNS that fails', () => net.names.set(THEIRS, new DnsError('the DNS server did not answer')), 'dns! verdict!', /did not answer/, /^the network/],
    ['nobody there', () => net.names.set(THEIRS, at('203.0.113.1')), 'dns tcp! verdict!', /the server is down, or a firewall/, /^the network/],
  ]
  for (const [name, prepare, way, says, mend] of cases) {
    prepare()
    const steps = await tries(net, ours)
    t.equal(brief(steps), way, name)
    t.match(steps.at(-2), { ok: false, says, mend }, name)
    t.match(steps.at(-1), { ok: false, says: /^messages cannot be sent from montague\.test to capulet\.test/, mend })
  }
  ours.policy = () => ({ trust: 'refuse' })
  const refused = await tries(net, ours)
  t.equal(brief(refused), 'policy! verdict!')
  t.match(refused[0]?.mend, /^you, the operator of montague\.test/)
})

scene('a certificate for another domain is reported', async (t, net) => {
  const ours = await net.town(OURS)
  await net.town(THEIRS, { shows: dns('tybalt.test') })
  const steps = await tries(net, ours)
  t.equal(brief(steps), 'dns tcp tls certificate! verdict!')
  t.match(steps[3], { says: /its certificate is not valid for capulet\.test/, mend: OUTSIDE })
})

scene('a server that refuses authentication, and one that never answers, are reported', async (t, net) => {
  const ours = await net.town(OURS)
  const peer = await net.peer(THEIRS)
  const deaf = await tries(net, ours, async () => {
    const line = await peer.takes(THEIRS, `${EXTERNAL}${BIDI}${DIALBACK}`)
    await line.says("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>")
    await line.says(`<db:result from='${THEIRS}' to='${OURS}' type='invalid'/>`)
  })
  t.equal(brief(deaf), 'dns tcp tls certificate features authentication! verdict!')
  t.match(deaf.at(-2), { says: /did not accept our authentication \(it rejected our dialback key\)/, mend: OUTSIDE })
  const mute = await tries(net, ours, async () => {
    const line = await peer.takes(THEIRS, EXTERNAL)
    await line.says(SUCCESS)
    await line.says(`${header(THEIRS, { id: 'x' })}<stream:features/>`)
  })
  t.equal(brief(mute), 'dns tcp tls certificate features authentication ping! verdict!')
  t.match(mute.at(-2), { says: /no answer in 30 s/, mend: /^the network/ })
})
