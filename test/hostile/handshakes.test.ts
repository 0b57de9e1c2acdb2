/** Handshakes that cost the server much more than the attacker. */
import t from 'tap'
import { costlyChain, KINDS, limitedChain, type Chain } from './certificates.js'
import { RawClient } from './peer.js'
import { SHIPPED } from './server.js'
import { AttackedServer } from './town.js'

const HEADER = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' from='elsewhere.lit' to='a'>"
const SERVERS = '[federation]\n[[listen]]\nfor = "servers"\naddress = ["127.0.0.1"]\nport = 0\ntls = "direct"\n'
/** The number of connections that present the same chain at the same time. */
const AT_ONCE = 8
/** OpenSSL accepts chains of up to 100 KB and 100 certificates. */
const ALL_THAT_OPENSSL_ACCEPTS = { most: 98, bytes: 96_000 }
/** A chain within the bounds of Sestina, if its keys are within them, too. */
const ALL_THAT_SESTINA_ACCEPTS = { most: 10, bytes: 16_000 }

t.setTimeout(1_200_000)
t.test('peers with certificates that are costly to verify make no turn long', { timeout: 1_200_000 }, async t => {
  const town = await AttackedServer.open(t, { storage: 'sqlite', durability: 'os', modules: SHIPPED, conf: SERVERS })
  const shows = async (from: string, { pem, key }: Chain, version: 'TLSv1.2' | 'TLSv1.3'): Promise<void> => {
    const peer = await RawClient.at(town.server.serverPort, from)
    try {
      await peer.encrypts({ cert: pem, key, minVersion: version, maxVersion: version, ciphers: 'DEFAULT:@SECLEVEL=0', ALPNProtocols: ['xmpp-server'] })
      peer.says(HEADER)
      await peer.gets('<stream:features')
    } catch {
      return // refused
    } finally {
      peer.drops('reset')
    }
  }
  const attack = async (chain: Chain): Promise<void> => {
    for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
      await Promise.all(Array.from({ length: AT_ONCE }, async (_, n) => { await shows(`127.0.${30 + n}.1`, chain, version) }))
    }
  }
  for (const [name, kind] of Object.entries(KINDS)) {
    for (const { most, bytes } of [ALL_THAT_OPENSSL_ACCEPTS, ALL_THAT_SESTINA_ACCEPTS]) {
      const chain = costlyChain(kind(), most, bytes)
      await t.test(`${chain.count} certificates, ${name}`, async t => { await town.talks(t, async () => { await attack(chain) }) })
    }
  }
  await t.test('authorities with name constraints for many names', async t => {
    await town.talks(t, async () => {
      await attack(limitedChain(900, 4))
      await attack(limitedChain(120, 4))
    })
  })
})
