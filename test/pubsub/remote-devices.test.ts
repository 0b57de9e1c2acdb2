/** The devices of contacts on other servers: their bound in bytes. */
import t from 'tap'
import { parseJid, type Jid } from '../../lib/xmpp/jid.js'
import { RemoteDevices } from '../../modules/pep/remote-devices.js'

const ACCOUNT = parseJid('juliet@capulet.lit')
const device = (n: number): Jid => parseJid(`romeo${n}@montague.lit/orchard`)
const nodes = (n: number, length: number): ReadonlySet<string> =>
  new Set(Array.from({ length: 40 }, (_, i) => `${'x'.repeat(length)}${n}-${i}`))

t.test('long lists of nodes count, and those of usual software do not', t => {
  for (const [length, isKept] of [[1000, false], [0, true]] as const) {
    const devices = new RemoteDevices()
    for (let n = 0; n < 100; n++) {
      t.ok(devices.came(device(n), ACCOUNT))
      devices.serve(device(n), ACCOUNT, nodes(n, length))
    }
    t.equal(devices.of(device(0), ACCOUNT).length === 1, isKept)
    t.equal(devices.of(device(99), ACCOUNT).length, 1, 'the last one')
  }
  t.end()
})
