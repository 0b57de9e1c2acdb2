/** Who calls: what reverse proxies say is believed as far as the conf lists them, and no further. */
import t from 'tap'
import { Ranges } from '../../lib/base/reach.js'
import { callerOf, type ForwardedHeader } from '../../lib/web/caller.js'

const LISTED = new Ranges(['10.0.0.0/8', '2001:db8:1::/48', '127.0.0.1'])
const called = (peer: string, headers: Record<string, string>, header: ForwardedHeader = 'x-forwarded-for') => {
  const { address, isSecure, tls } = callerOf(peer, undefined, headers, { ranges: LISTED, header })
  return [address, isSecure, tls !== undefined]
}

for (const [title, peer, headers, header, wanted] of [
  ['a client itself, whatever it writes', '192.0.2.7', { 'x-forwarded-for': '198.51.100.1', 'x-forwarded-proto': 'https' }, 'x-forwarded-for', ['192.0.2.7', false, false]],
  ['a client on this machine is secure without TLS', '::1', {}, 'x-forwarded-for', ['::1', true, false]],
  ['a listed proxy', '10.0.0.1', { 'x-forwarded-for': '198.51.100.1', 'x-forwarded-proto': 'https' }, 'x-forwarded-for', ['198.51.100.1', true, true]],
  ['a proxy that says nothing of TLS', '10.0.0.1', { 'x-forwarded-for': '198.51.100.1' }, 'x-forwarded-for', ['198.51.100.1', false, false]],
  ['a proxy that says http', '10.0.0.1', { 'x-forwarded-for': '198.51.100.1', 'x-forwarded-proto': 'http' }, 'x-forwarded-for', ['198.51.100.1', false, false]],
  ['a client that forged the header before the proxy added to it', '10.0.0.1', { 'x-forwarded-for': '127.0.0.1, 198.51.100.1', 'x-forwarded-proto': 'https' }, 'x-forwarded-for', ['198.51.100.1', true, true]],
  ['two listed proxies in a row', '10.0.0.1', { 'x-forwarded-for': '203.0.113.5, 198.51.100.1, 10.1.1.1', 'x-forwarded-proto': 'https' }, 'x-forwarded-for', ['198.51.100.1', true, true]],
  ['protocols that are paired with the addresses', '10.0.0.1', { 'x-forwarded-for': '198.51.100.1, 10.1.1.1', 'x-forwarded-proto': 'http, https' }, 'x-forwarded-for', ['198.51.100.1', false, false]],
  ['an address with a port', '10.0.0.1', { 'x-forwarded-for': '198.51.100.1:4711', 'x-forwarded-proto': 'wss' }, 'x-forwarded-for', ['198.51.100.1', true, true]],
  ['IPv6 in brackets', '10.0.0.1', { 'x-forwarded-for': '[2001:db8::9]:4711', 'x-forwarded-proto': 'https' }, 'x-forwarded-for', ['2001:db8::9', true, true]],
  ['IPv4 that is written as IPv6', '10.0.0.1', { 'x-forwarded-for': '::ffff:198.51.100.1', 'x-forwarded-proto': 'https' }, 'x-forwarded-for', ['198.51.100.1', true, true]],
  ['a word instead of an address', '10.0.0.1', { 'x-forwarded-for': 'unknown', 'x-forwarded-proto': 'https' }, 'x-forwarded-for', ['10.0.0.1', false, false]],
  ['a header that the proxies do not use', '10.0.0.1', { forwarded: 'for=198.51.100.1;proto=https' }, 'x-forwarded-for', ['10.0.0.1', false, false]],
  ['the other header that the proxies do not use', '10.0.0.1', { 'x-forwarded-for': '198.51.100.1', 'x-forwarded-proto': 'https' }, 'forwarded', ['10.0.0.1', false, false]],
  ['RFC 7239', '2001:db8:1::5', { forwarded: 'For="[2001:db8:cafe::17]:4711";Proto=HTTPS;by=203.0.113.43' }, 'forwarded', ['2001:db8:cafe::17', true, true]],
  ['RFC 7239 with several hops', '10.0.0.1', { forwarded: 'for=203.0.113.9;proto=http, for=198.51.100.1;proto=https, for="10.1.1.1"' }, 'forwarded', ['198.51.100.1', true, true]],
  ['RFC 7239 with a separator within quotes', '10.0.0.1', { forwarded: 'for=198.51.100.1;host="a,b;for=127.0.0.1";proto=https' }, 'forwarded', ['198.51.100.1', true, true]],
  ['RFC 7239 with a hidden client', '10.0.0.1', { forwarded: 'for=_hidden;proto=https' }, 'forwarded', ['10.0.0.1', false, false]],
  ['RFC 7239 without an end to its quotes', '10.0.0.1', { forwarded: 'for="198.51.100.1;proto=https' }, 'forwarded', ['10.0.0.1', false, false]],
] as const) {
  t.test(`the address and the TLS of ${title}`, async t => {
    t.same(called(peer, headers, header), wanted)
  })
}

t.test('the hops that are looked at are bounded, and a long header takes no long time', async t => {
  const hops = Array.from({ length: 4000 }, () => '10.0.0.2').join(',')
  t.same(called('10.0.0.1', { 'x-forwarded-for': `198.51.100.1,${hops}`, 'x-forwarded-proto': 'https' }), ['10.0.0.2', true, true])
  const before = process.cpuUsage().user
  for (const text of ['"'.repeat(16_000), `for="${'\\'.repeat(16_000)}`, 'for=;'.repeat(3000), `"${'\\"'.repeat(8000)}`, `${'"a",'.repeat(4000)}"`]) called('10.0.0.1', { forwarded: text }, 'forwarded')
  t.ok(process.cpuUsage().user - before < 1_000_000)
})
