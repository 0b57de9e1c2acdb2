/** Which addresses are public, in any notation. */
import t from 'tap'
import { interfaceAddresses, isRange, isSameAddress, isUnspecified, Ranges, specialKindOf } from '../../lib/base/reach.js'

const PUBLIC = [
  '1.1.1.1', '9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '126.255.255.255', '128.0.0.1', '169.253.255.255', '169.255.0.0',
  '172.15.255.255', '172.32.0.0', '192.0.1.1', '192.167.255.255', '192.169.0.0', '198.17.255.255', '198.20.0.0', '223.255.255.255',
  '2606:4700::1111', '2a00:1450::1', '2001:4860:4860::8888', '::ffff:1.1.1.1', '64:ff9b::1.1.1.1', '64:ff9b::101:101', '2002:101:101::1',
]

const SPECIAL: Readonly<Record<string, readonly string[]>> = {
  'an unspecified': ['0.0.0.0', '0.1.2.3', '::', '::ffff:0.0.0.0', '64:ff9b::'],
  'a loopback': ['127.0.0.1', '127.255.255.255', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', '::ffff:7f00:1', '64:ff9b::127.0.0.1', '2002:7f00:1::'],
  'a private': [
    '10.0.0.1', '10.255.255.255', '172.16.0.1', '172.31.255.255', '192.168.0.1', '192.168.255.255', 'fc00::1', 'fdff:ffff::1', 'fec0::1',
    '::ffff:10.0.0.1', '64:ff9b::10.0.0.1', '64:ff9b::c0a8:1', '2002:c0a8:1::1', '64:ff9b:1::1.1.1.1',
  ],
  'a link-local': ['169.254.0.1', '169.254.169.254', 'fe80::1', 'febf::1', '::ffff:169.254.169.254', '64:ff9b::a9fe:a9fe', '2002:a9fe:a9fe::'],
  'a shared': ['100.64.0.1', '100.127.255.255', '::ffff:100.64.0.1', '2002:6440:1::'],
  'a multicast': ['224.0.0.1', '239.255.255.255', 'ff02::1', 'ffff::', '::ffff:224.0.0.1'],
  'a documentation': ['192.0.2.1', '198.51.100.1', '203.0.113.1', '2001:db8::1', '3fff::1'],
  'a benchmarking': ['198.18.0.1', '198.19.255.255'],
  'a tunnel': ['2001::1', '2001:0:4136:e378:8000:63bf:3fff:fdd2'],
  'a reserved': ['192.0.0.1', '192.88.99.1', '240.0.0.1', '255.255.255.255', '::2', '::10.0.0.1', '::7f00:1', '100::1', '2001:2::1', '2001:10::1', '4000::1', '64:ff9b:2::1', '5f00::1'],
  'an unknown': ['', 'localhost', '127.1', '2130706433', '0x7f000001', '0177.0.0.1', '127.0.0.1.', '1.2.3.256', 'fe80::1%eth0', '2606:4700::1%1', '[::1]'],
}

void t.test('an address is public unless a registry reserves it; an IPv4 address within IPv6 counts as IPv4', async t => {
  for (const address of PUBLIC) t.equal(specialKindOf(address), undefined, address)
  for (const [kind, addresses] of Object.entries(SPECIAL)) for (const address of addresses) t.equal(specialKindOf(address), kind, address || 'nothing')
})

void t.test('a range matches its addresses in either family, and those that IPv6 embeds', async t => {
  const ranges = new Ranges(['10.0.0.0/8', '192.168.7.7', 'fd00::/8', '::1'])
  for (const address of ['10.1.2.3', '::ffff:10.1.2.3', '64:ff9b::10.1.2.3', '192.168.7.7', 'fd12::1', '::1', '0::1']) t.ok(ranges.has(address), address)
  for (const address of ['11.0.0.1', '192.168.7.8', 'fc00::1', '::2', 'localhost', '', '10.1.2.3%x']) t.notOk(ranges.has(address), address)
  t.notOk(new Ranges().has('10.0.0.1'))
  t.ok(new Ranges(['0.0.0.0/0']).has('10.0.0.1'))
  t.notOk(new Ranges(['0.0.0.0/0']).has('fd00::1'))
  for (const text of ['10.0.0.0/33', '10.0.0.0/', '10.0.0/8', 'fd00::/129', '/8', 'x', '10.0.0.0/8/8', '10.0.0.0/-1', '::1%lo/128']) {
    t.notOk(isRange(text), text)
    t.throws(() => new Ranges([text]), RangeError)
  }
})

void t.test('two notations of an address are equal, and an invalid address matches nothing', async t => {
  t.ok(isSameAddress('::ffff:192.0.2.1', '192.0.2.1'))
  t.ok(isSameAddress('192.0.2.1', '64:ff9b::c000:201'))
  t.ok(isSameAddress('2001:DB8:0::1', '2001:db8::1'))
  t.notOk(isSameAddress('192.0.2.1', '192.0.2.2'))
  t.notOk(isSameAddress('x', 'x'))
  t.ok(isUnspecified('::'))
  t.ok(isUnspecified('0.0.0.0'))
  t.notOk(isUnspecified('127.0.0.1'))
  t.ok(interfaceAddresses().length > 0)
})
