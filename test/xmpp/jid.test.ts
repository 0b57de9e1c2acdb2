/** Addresses and their preparation: tables with hostile rows first, then properties that hold for any text. */
import t, { type Test } from 'tap'
import fc from 'fast-check'
import { isIPv4, isIPv6 } from 'node:net'
import { Jid, JidError, jidOf, JIDS_KEPT, jidsKept, parseJid } from '../../lib/xmpp/jid.js'
import { idnaDomain, nickname, nicknameKey, opaqueString, PrepError, saslPrep, usernameCaseMapped } from '../../lib/xmpp/prep.js'
import { TwoGenerationCache } from '../../lib/base/two-generation-cache.js'

const LONE = '\ud800'
/** The characters of emoji that other servers allow in resources. */
const EMOJI_PART = /[\u200c\u200d\ufe00-\ufe0f\u{e0020}-\u{e007f}\u{e0100}-\u{e01ef}]/u
const FAMILY = '\u{1f468}\u200d\u{1f469}\u200d\u{1f467}'

/** Refused addresses, each with words of the error, so that a row refused for another reason fails. */
const REFUSED: readonly (readonly [text: string, why: RegExp])[] = [
  // Missing parts
  ['', /domain is empty/], ['@', /local part is empty/], ['/', /resource is empty/], ['@/', /local part is empty/],
  ['a@', /domain is empty/],
  ['@b', /local part is empty/], ['a@/r', /domain is empty/], ['/r', /domain is empty/], ['b/', /resource is empty/],
  ['a@b/', /resource is empty/],
  ['.', /domain is empty/], ['..', /empty label/], ['a@.', /domain is empty/], ['a..b', /empty label/], ['.a', /empty label/],
  ['a.b..', /empty label/],
  ['\u3002', /domain is empty/], ['ü\u3002\u3002b', /empty label/],
  // Two at-signs: the first ends the local part, and no domain has the second
  ['a@b@c', /domain/], ['a@@b', /domain/],
  // RFC 7622 §3.3.1
  ['a"b@c', /not allowed in addresses/], ['a&b@c', /not allowed in addresses/], ["a'b@c", /not allowed in addresses/], ['a:b@c', /not allowed in addresses/], ['a<b@c', /not allowed in addresses/],
  ['a>b@c', /not allowed in addresses/], ['\uff41\uff20b@c', /not allowed in addresses/], ['a\uff0fb@c', /not allowed in addresses/], ['a\uff1ab@c', /not allowed in addresses/],
  // Spaces and control characters
  [' a@b', /U\+0020/], ['a b@c', /U\+0020/], ['a@b c', /U\+0020/], ['a@b ', /U\+0020/], [' ', /U\+0020/], ['a@b/ c', /begins with a space/],
  ['a@b/\u00a0c', /begins with a space/], ['a@b/\u3000', /begins with a space/], ['a\u00a0b@c', /U\+00A0/], ['a\u3000b@c', /U\+0020/],
  ['a\0@b', /U\+0000/], ['a@b\0', /U\+0000/], ['a@b/\0', /U\+0000/], ['a\t@b', /U\+0009/], ['a@b/\t', /U\+0009/], ['a@b/\n', /U\+000A/],
  ['a@b\r\n', /U\+000D/], ['a@b/\x7f', /U\+007F/], ['a\x85@b', /U\+0085/], ['a@b/\x85', /U\+0085/], ['a@b/\u2028', /U\+2028/],
  // Invisible characters, and those that change the direction of writing
  ...['\u00ad', '\u034f', '\u061c', '\u115f', '\u180e', '\u200b', '\u200e', '\u200f', '\u202a', '\u202e', '\u2060', '\u2066', '\u2069',
    '\ufe0f',
    '\ufeff', '\u3164', '\u{e0001}', '\u{e0041}', '\u{e0100}'].flatMap((hidden): [string, RegExp][] => [
    [`a${hidden}b@c`, /local part has the character/], [`a@b${hidden}c`, /domain has the character/],
    ...EMOJI_PART.test(hidden) ? [] : [[`a@b/c${hidden}d`, /resource has the character/] as [string, RegExp]],
  ]),
  // Joiners out of place
  ['a\u200cb@c', /local part .*out of place/], ['a\u200db@c', /out of place/], ['a@b\u200cc', /domain .*out of place/],
  ['a@b/\u200d', /is empty/], ['a@b/\ufe0f', /is empty/],
  // Code points that are not characters
  [`a${LONE}@b`, /U\+D800/], [`a@b${LONE}`, /U\+D800/], [`a@b/${LONE}`, /U\+D800/], ['a\udc00\ud800@b', /U\+DC00/],
  ['a\ufffe@b', /U\+FFFE/],
  ['a@b/\uffff', /U\+FFFF/], ['a@b/\ufdd0', /U\+FDD0/], ['a@b/\u{10ffff}', /U\+10FFFF/], ['a\u0378@b', /U\+0378/],
  ['a@b/\u0378', /U\+0378/], ['a@b\u0378', /U\+0378/],
  ['a@b/\ue000', /U\+E000/], ['a\ue000@b', /U\+E000/],
  // Compatibility characters: not guessed at
  ['henry\u2163@b', /U\+2163/], ['\u212a@b', /U\+212A/], ['\u017f@b', /U\+017F/], ['\ufb01@b', /U\+FB01/], ['\u00b2@b', /U\+00B2/],
  ['\u2044@b', /U\+2044/],
  ['a@b\u2044c', /U\+2044/], ['a@\u2163.com', /U\+2173/], ['a@\ufb01.com', /U\+FB01/], ['a@\u338f.com', /U\+338F/],
  ['a@b\u2024com', /U\+2024/],
  ['\u0958@b', /U\+0958/], ['\u1100\u1161@b', /U\+1100/], ['a@b/\u1100', /U\+1100/], ['\u265a@b', /U\+265A/], ['\u0640@b', /U\+0640/],
  ['a@b/\u302e', /U\+302E/],
  // Directions (RFC 5893)
  ['\u05d0a@b', /mixes directions/], ['a\u05d0@b', /mixes directions/], ['1\u05d0@b', /mixes directions/],
  ['\u05d0-@b', /mixes directions/],
  ['\u0627\u06f0\u0667@b', /out of place/], ['\u06271\u0660@b', /mixes directions/], ['\u0660@b', /mixes directions/],
  ['\u0301\u05d0@b', /mixes directions/],
  ['a@\u05d0a', /domain/], ['a@1.\u05d0', /domain/], ['a@\u05d0.1a', /domain/], ['a\u{1e900}@b', /mixes directions/],
  // Context (RFC 5892 appendix A)
  ['a\u00b7b@c', /out of place/], ['l\u00b7@c', /out of place/], ['a\u0375b@c', /out of place/], ['a\u05f3@c', /out of place/],
  ['\u05f4@c', /out of place/],
  ['a\u30fbb@c', /out of place/], ['a@b\u00b7c', /out of place/], ['\u0627\u0661\u06f1@c', /out of place/],
  // Domains
  ['a@-b', /hyphen/], ['a@b-', /hyphen/], ['a@b.-', /hyphen/], ['a@b_c', /U\+005F/], ['a@b!', /U\+0021/], ['a@b:5222', /U\+003A/],
  ['a@b%2e', /U\+0025/],
  ['a@\u2615.com', /U\+2615/], ['a@\u{1f4a9}.la', /U\+1F4A9/], ['a@ab--\u00fc', /reserved/], ['a@\u0301b', /domain/],
  ['a@b.xn--', /domain/],
  ['a@xn--a', /domain/], ['a@xn--abc-', /domain/], ['a@xn--ls8h.la', /U\+1F4A9/], ['a@xn--\u00fc', /domain/],
  ['a@xn--fa-hia-.de', /domain/], ['a@xn--99999999999', /domain/],
  ['a@xn--kxa\u00e4', /domain/], ['a@xn--mnchen-3ya-.de', /domain/], ['a@xn--53h', /U\+2603|domain/],
  [`a@${'b'.repeat(64)}`, /too long/], [`a@${'\u00fc'.repeat(60)}`, /too long/], [`a@${'b.'.repeat(127)}c`, /too long/],
  [`a@${'\u00fc.'.repeat(60)}c`, /too long/],
  [`a@${'\u00fc.'.repeat(2000)}c`, /too long/],
  ['256.1.1.1', /not an IPv4/], ['01.2.3.4', /not an IPv4/],
  // Literals
  ['[::1', /not an IPv6/], ['[', /not an IPv6/], ['[]', /not an IPv6/], ['[::1]:5222', /not an IPv6/], ['[::1].', /not an IPv6/],
  ['[fe80::1%eth0]', /not an IPv6/], ['[fe80::1%25eth0]', /not an IPv6/],
  ['[1::2::3]', /not an IPv6/], ['[127.0.0.1]', /not an IPv6/], ['[::256.0.0.1]', /not an IPv6/], ['[::01.2.3.4]', /not an IPv6/],
  ['[12345::]', /not an IPv6/], ['[1:2:3:4:5:6:7:8:9]', /not an IPv6/],
  ['[v1.fe80]', /not an IPv6/], ['::1', /U\+003A/], ['a@[::1]b', /not an IPv6/], ['a@[b]', /not an IPv6/], ['[1:2:3:4:5:6:7]', /not an IPv6/],
  ['[:::]', /not an IPv6/],
  // Too long, in octets or by far
  [`${'a'.repeat(1024)}@b`, /local part is too long/], [`${'\u00fc'.repeat(512)}@b`, /local part is too long/],
  [`a@b/${'c'.repeat(1024)}`, /resource is too long/],
  [`a@b/${'\u{1f600}'.repeat(256)}`, /resource is too long/], ['a'.repeat(1 << 20), /too long/],
  ['@'.repeat(1 << 20), /too long/], [`a@b/${'/'.repeat(1 << 20)}`, /too long/],
]

/** Accepted addresses, with their prepared parts. */
const TAKEN: readonly (readonly [text: string, local: string, domain: string, resource: string])[] = [
  ['a@b/c@d/e', 'a', 'b', 'c@d/e'], ['b/c@d', '', 'b', 'c@d'], ['a@b//', 'a', 'b', '/'], ['a@b/@', 'a', 'b', '@'],
  ['a@b/c ', 'a', 'b', 'c '],
  // The parts of emoji, in the resources of other servers
  [`a@b/${FAMILY}`, 'a', 'b', FAMILY], ['a@b/\u2764\ufe0f', 'a', 'b', '\u2764\ufe0f'], ['a@b/c\u200d', 'a', 'b', 'c\u200d'],
  ['a@b/\u06cc\u200c ', 'a', 'b', '\u06cc\u200c '], ['a@b/\u{1f3f4}\u{e0067}\u{e007f}', 'a', 'b', '\u{1f3f4}\u{e0067}\u{e007f}'],
  ['__proto__@constructor/toString', '__proto__', 'constructor', 'toString'],
  ['__PROTO__@hasownproperty/__proto__', '__proto__', 'hasownproperty', '__proto__'],
  ['Romeo@Example.ORG/Balcony', 'romeo', 'example.org', 'Balcony'], ['example.org.', '', 'example.org', ''], ['a@b./c', 'a', 'b', 'c'],
  ['a@b\u3002/c', 'a', 'b', 'c'],
  [`${'a'.repeat(1023)}@b`, 'a'.repeat(1023), 'b', ''],
  [`a@b/${'\u00fc'.repeat(511)}`, 'a', 'b', '\u00fc'.repeat(511)], [`a@${'b'.repeat(63)}`, 'a', 'b'.repeat(63), ''],
  [`a@${'b.'.repeat(126)}c`, 'a', `${'b.'.repeat(126)}c`, ''],
  ['!#$%()*+,-.;=?[\\]^_`{|}~@b', '!#$%()*+,-.;=?[\\]^_`{|}~', 'b', ''], ['foo\\20bar@b', 'foo\\20bar', 'b', ''],
  // Mappings
  ['a@\u1100\u1161', 'a', '\uac00', ''],
  ['\uff21\uff22\uff23@\uff21\uff0e\uff22', 'abc', 'a.b', ''], ['\uff76\uff9e@b', '\u30ac', 'b', ''],
  ['u\u0308@u\u0308/u\u0308', '\u00fc', '\u00fc', '\u00fc'],
  ['\u039d\u0399\u039a\u039f\u03a3@b', '\u03bd\u03b9\u03ba\u03bf\u03c3', 'b', ''], ['\u03c2@\u03c2', '\u03c2', '\u03c2', ''],
  ['\u00df@\u00df', '\u00df', '\u00df', ''],
  ['\u1e9e@b', '\u00df', 'b', ''], ['\u0131@b', '\u0131', 'b', ''], ['\u0130@b', 'i\u0307', 'b', ''], ['a@\u212a', 'a', 'k', ''],
  ['a@b\uff61c', 'a', 'b.c', ''],
  ['a@b/\uff21\u212b', 'a', 'b', '\uff21\u00c5'], ['a@b/c\u00a0\u3000d', 'a', 'b', 'c  d'],
  ['a@b/\u2163\u00b2\uff20', 'a', 'b', '\u2163\u00b2\uff20'],
  ['\u13a0@b', '\uab70', 'b', ''],
  // Domains
  ['fa\u00df.de', '', 'fa\u00df.de', ''], ['XN--FA-HIA.de', '', 'fa\u00df.de', ''], ['xn--mnchen-3ya.de', '', 'm\u00fcnchen.de', ''],
  ['M\u00dcNCHEN.de', '', 'm\u00fcnchen.de', ''],
  ['xn--wgbh1c', '', '\u0645\u0635\u0631', ''], ['r3---sn-4g5.example', '', 'r3---sn-4g5.example', ''], ['a--b', '', 'a--b', ''],
  ['1.2.3', '', '1.2.3', ''], ['123', '', '123', ''],
  ['192.168.0.1', '', '192.168.0.1', ''], ['a@1.2.3.4.5', 'a', '1.2.3.4.5', ''], ['\u65e5\u672c\u3002jp', '', '\u65e5\u672c.jp', ''],
  ['\u05d0.\u05d1', '', '\u05d0.\u05d1', ''],
  ['[::1]/x', '', '[::1]', 'x'], ['a@[2001:DB8:0:0:0:0:0:1]', 'a', '[2001:db8::1]', ''],
  ['[::ffff:1.2.3.4]', '', '[::ffff:102:304]', ''], ['[1:2:3:4:5:6:7:8]', '', '[1:2:3:4:5:6:7:8]', ''],
  // Directions and contexts
  ['\u05d0\u05d11@b', '\u05d0\u05d11', 'b', ''], ['\u0627\u0301@b', '\u0627\u0301', 'b', ''],
  ['\u0627\u0661@b', '\u0627\u0661', 'b', ''], ['\u0627\u06f1@b', '\u0627\u06f1', 'b', ''],
  ['col\u00b7lega@col\u00b7lega', 'col\u00b7lega', 'col\u00b7lega', ''], ['\u0375\u03b1@b', '\u0375\u03b1', 'b', ''],
  ['\u05d0\u05f3@b', '\u05d0\u05f3', 'b', ''], ['\u05d0\u05f4\u05d1@b', '\u05d0\u05f4\u05d1', 'b', ''],
  ['\u30ab\u30fb@b', '\u30ab\u30fb', 'b', ''], ['\u30fb\u4e00@\u30ab\u30fb', '\u30fb\u4e00', '\u30ab\u30fb', ''],
  ['\u0628\u200c\u0628@\u0628\u200c\u0628', '\u0628\u200c\u0628', '\u0628\u200c\u0628', ''],
  ['\u0915\u094d\u200d\u0937@\u0915\u094d\u200c\u0937', '\u0915\u094d\u200d\u0937', '\u0915\u094d\u200c\u0937', ''],
  ['\u0628\u064e\u200c\u064e\u0628@b', '\u0628\u064e\u200c\u064e\u0628', 'b', ''],
  ['a@b/\u05d0a\u05d0', 'a', 'b', '\u05d0a\u05d0'],
]

/** Returns the text in ASCII, for a title: TAP breaks at Unicode's line breaks. */
function shown (text: string): string {
  return JSON.stringify(text.slice(0, 60)).replace(/[^ -~]/g, unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function refuses (t: Test, attempt: () => unknown, kind: typeof JidError | typeof PrepError, name?: string): void {
  try {
    attempt()
  } catch (error) {
    t.ok(error instanceof kind, name ?? 'refused')
    return
  }
  t.fail(`not refused: ${name ?? attempt}`)
}

t.test('RFC 7622 §3.5: the addresses of table 1 are valid, those of table 2 are not', async t => {
  const valid: readonly (readonly [string, string])[] = [
    ['juliet@example.com', 'juliet@example.com'], ['juliet@example.com/foo', 'juliet@example.com/foo'],
    ['juliet@example.com/foo bar', 'juliet@example.com/foo bar'],
    ['juliet@example.com/foo@bar', 'juliet@example.com/foo@bar'], ['foo\\20bar@example.com', 'foo\\20bar@example.com'],
    ['fussball@example.com', 'fussball@example.com'],
    ['fu\u00dfball@example.com', 'fu\u00dfball@example.com'], ['\u03c0@example.com', '\u03c0@example.com'],
    ['\u03a3@example.com/foo', '\u03c3@example.com/foo'],
    ['\u03c3@example.com/foo', '\u03c3@example.com/foo'], ['\u03c2@example.com/foo', '\u03c2@example.com/foo'],
    ['king@example.com/\u265a', 'king@example.com/\u265a'],
    ['example.com', 'example.com'], ['example.com/foobar', 'example.com/foobar'],
    ['a.example.com/b@example.net', 'a.example.com/b@example.net'],
  ]
  for (const [text, prepared] of valid) t.equal(parseJid(text).toString(), prepared, shown(text))
  for (const text of ['"juliet"@example.com', 'foo bar@example.com', 'juliet@example.com/ foo', '@example.com/',
    'henry\u2163@example.com', '\u265a@example.com', 'juliet@', '/foobar']) {
    refuses(t, () => parseJid(text), JidError, shown(text))
  }
  t.notOk(parseJid('\u03c2@example.com').equals(parseJid('\u03c3@example.com')))
})

t.test('an invalid address is refused, and for the right reason', async t => {
  for (const [text, why] of REFUSED) {
    const name = shown(text)
    try {
      t.fail(`${name} became ${JSON.stringify(parseJid(text))}`)
    } catch (error) {
      if (!(error instanceof JidError)) throw error
      t.match(error.message, why, name)
      t.match(error.message, /^[ -~]*$/, 'the message is plain text, whatever the address was')
    }
  }
})

t.test('a valid address is split into its parts, and its text parses to itself', async t => {
  for (const [text, local, domain, resource] of TAKEN) {
    const jid = parseJid(text)
    t.strictSame([jid.local, jid.domain, jid.resource], [local, domain, resource], shown(text))
    t.ok(parseJid(jid.toString()).equals(jid))
    t.ok(jidOf(local, domain, resource).equals(jid))
  }
})

t.test('two addresses are equal if their texts are, and a bare address is its own bare address', async t => {
  const full = parseJid('Romeo@Example.org/Balcony')
  t.equal(full.bare.toString(), 'romeo@example.org')
  t.equal(full.bare, parseJid('romeo@example.org').bare)
  t.equal(full.bare.bare, full.bare)
  t.equal(full.bare.resource, '')
  t.ok(full.equals(parseJid('romeo@EXAMPLE.org/Balcony')))
  t.notOk(full.equals(full.bare))
  t.notOk(full.equals(parseJid('romeo@example.org/balcony')), 'a resource keeps its case')
  t.equal(full.withResource('Garden').toString(), 'romeo@example.org/Garden')
  t.equal(full.withResource('Garden').bare, full.bare)
  t.equal(parseJid('example.org').withResource('x').toString(), 'example.org/x')
  t.equal(JSON.stringify({ full }), '{"full":"romeo@example.org/Balcony"}')
  t.equal(`${Jid.of('A', 'B')}`, 'a@b')
  t.equal(Jid.of('', 'B', '').toString(), 'b')
  t.equal(parseJid('b/a@c').bare.toString(), 'b', 'an at-sign after the slash belongs to the resource')
  t.equal(parseJid('b/a@c').local, '')
  for (const refuse of [() => full.withResource(''), () => full.withResource(' x'), () => jidOf('a', ''), () => jidOf('a/b', 'c'),
    () => jidOf('a@b', 'c'), () => jidOf('', 'a@b'),
    () => jidOf('', 'a/b'), () => jidOf('a', 'b', '\0'), () => jidOf('a'.repeat(1 << 20), 'b')]) refuses(t, refuse, JidError)
  const long = parseJid(`a@b/${'c'.repeat(300)}`)
  const again = parseJid(`a@b/${'c'.repeat(300)}`)
  t.not(long, again, 'a long address is not cached')
  t.ok(long.equals(again))
  t.equal(long.bare, again.bare)
})

t.test('a resource that is made here keeps to RFC 7622, whatever other servers allow', t => {
  const account = parseJid('romeo@example.org')
  for (const resource of [FAMILY, '\u2764\ufe0f', 'c\u200d']) refuses(t, () => account.withResource(resource), JidError, shown(resource))
  t.end()
})

t.test('the cache of addresses is bounded', async t => {
  const romeo = parseJid('romeo@bound.example')
  for (let number = 0; number < 3 * JIDS_KEPT; number++) {
    parseJid(`User${number}@bound.example`)
    if (number % 1000 === 0 && jidsKept() > JIDS_KEPT) t.fail('the bound was exceeded')
    if (number % 1000 === 0 && parseJid('romeo@bound.example') !== romeo) t.fail('a frequently used address was dropped')
  }
  t.ok(jidsKept() <= JIDS_KEPT)
  t.equal(parseJid('romeo@bound.example'), romeo)

  const recent = new TwoGenerationCache<number>(4)
  for (let number = 0; number < 10; number++) {
    recent.set(String(number), number)
    t.ok(recent.size <= 4)
    t.equal(recent.get(String(number)), number)
  }
  t.equal(recent.get('0'), undefined)
  recent.set('9', 10)
  t.equal(recent.get('9'), 10)
  t.equal(recent.get('8'), 8)
})

t.test('RFC 8265: user names and passwords are prepared as in its examples', async t => {
  const names: readonly (readonly [string, string])[] = [['juliet@example.com', 'juliet@example.com'], ['fussball', 'fussball'],
    ['fu\u00dfball', 'fu\u00dfball'], ['\u03c0', '\u03c0'],
    ['\u03a3', '\u03c3'], ['\u03c3', '\u03c3'], ['\u03c2', '\u03c2'], ['JULIET', 'juliet'], ['\uff2a', 'j']]
  for (const [text, prepared] of names) t.equal(usernameCaseMapped(text), prepared, shown(text))
  for (const text of ['foo bar', '', 'henry\u2163', '\u265a', '\ud800', '\u05d0a']) refuses(t, () => usernameCaseMapped(text), PrepError,
    shown(text))

  const passwords: readonly (readonly [string, string])[] = [['correct horse battery staple', 'correct horse battery staple'],
    ['Correct Horse Battery Staple', 'Correct Horse Battery Staple'],
    ['\u03c0\u00df\u00e5', '\u03c0\u00df\u00e5'], ['Jack of \u2666s', 'Jack of \u2666s'], ['foo\u1680bar', 'foo bar'],
    ['  x ', '  x '], ['A\u030a', '\u00c5'], ['\u05d0a', '\u05d0a']]
  for (const [text, prepared] of passwords) t.equal(opaqueString(text), prepared, shown(text))
  for (const text of ['', 'my cat is a \tby', '\u200b', '\ud800', '\u0378']) refuses(t, () => opaqueString(text), PrepError, shown(text))
})

t.test('RFC 8266: nicknames are prepared as in its examples', async t => {
  const names: readonly (readonly [string, string, string])[] = [['Foo', 'Foo', 'foo'], ['foo', 'foo', 'foo'],
    ['Foo Bar', 'Foo Bar', 'foo bar'], ['  Foo   Bar ', 'Foo Bar', 'foo bar'],
    ['\u03a3', '\u03a3', '\u03c3'], ['\u03c3', '\u03c3', '\u03c3'], ['\u03c2', '\u03c2', '\u03c2'], ['\u265a', '\u265a', '\u265a'],
    ['Richard \u2163', 'Richard IV', 'richard iv'],
    ['\u00a8', '\u0308', '\u0308'],
    ['\ufdfa', '\u0635\u0644\u0649 \u0627\u0644\u0644\u0647 \u0639\u0644\u064a\u0647 \u0648\u0633\u0644\u0645',
      '\u0635\u0644\u0649 \u0627\u0644\u0644\u0647 \u0639\u0644\u064a\u0647 \u0648\u0633\u0644\u0645']]
  for (const [text, shown, key] of names) {
    t.equal(nickname(text), shown)
    t.equal(nicknameKey(text), key)
  }
  for (const text of ['', ' ', '\u3000', '\u200b', 'a\tb', '\ud800']) {
    refuses(t, () => nickname(text), PrepError, shown(text))
    refuses(t, () => nicknameKey(text), PrepError, shown(text))
  }
})

t.test('RFC 4013: passwords are prepared as in its examples, and with characters newer than Unicode 3.2', async t => {
  for (const [text, prepared] of [['I\u00adX', 'IX'], ['user', 'user'], ['USER', 'USER'], ['\u00aa', 'a'], ['\u2168', 'IX'], ['', ''],
    ['a\u00a0b', 'a b'], ['pass\u{1f40e}word', 'pass\u{1f40e}word'], ['\u{1faa9}\u0221', '\u{1faa9}\u0221'], ['\u{1f469}\u200d\u{1f680}', '\u{1f469}\u{1f680}']] as const) {
    t.equal(saslPrep(text), prepared, shown(text))
  }
  for (const text of ['\u0007', '\u06271', '\ud800', 'a\0']) refuses(t, () => saslPrep(text), PrepError, shown(text))
})

/** Characters that tend to break things, and common ones. */
const character = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...Array.from('aAzZ09.-@/ "&\'<>:[]_xn\\')) },
  { weight: 3, arbitrary: fc.constantFrom('\u00ad', '\u200b', '\u200c', '\u200d', '\u200f', '\u202e', '\uff20', '\uff0e', '\u3002',
    '\u2044', LONE, '\u0130', '\u0131', '\u017f', '\u212a',
    '\u03a3', '\u03c2', '\u00df', '\u1e9e', '\u0345', '\u0308', '\u0301', '\u05d0', '\u0627', '\u0661', '\u06f1', '\u094d', '\u0915',
    '\u30fb', '\u30ab', '\u00b7', 'l', '\u1100', '\u1161',
    '\uff76', '\uff9e', '\u0958', '\u{1f600}', '\u{1e900}', '\ufe0f', '\u2163', '\u0149', '\u01f0', '\u1f80', '\u00fc', 'xn--',
    'xn--mnchen-3ya') },
  { weight: 2, arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }) },
)
const text = fc.array(character, { maxLength: 12 }).map(parts => parts.join(''))
/** Letters of the kinds that change their shape: most words of them are accepted. */
const word = fc.array(fc.constantFrom('a', 'Z', '9', '\u0130', '\u0131', '\u03a3', '\u03c2', '\u00df', '\u1e9e', '\u0345', '\u0308', '\u01c4',
  '\u1f88', '\uff21', '\uff76', '\uff9e', '\u13a0',
  '\u10a0', '\u1c90', '\u{10400}', '\u0587', '\u01f0', '\u1e96', '\u0390'), { minLength: 1, maxLength: 8 }).map(parts => parts.join(''))
const address = fc.oneof(fc.tuple(word, word, word).map(([local, domain, resource]) => `${local}@${domain}/${resource}`), text,
  fc.tuple(text, text, text).map(([local, domain, resource]) => `${local}@${domain}/${resource}`))

function attempt (text: string): Jid | undefined {
  try {
    return parseJid(text)
  } catch (error) {
    if (error instanceof JidError) return undefined
    throw error
  }
}

t.test('any text gives an address that parses to itself, or a JidError', async t => {
  let taken = 0
  fc.assert(fc.property(address, text => {
    const jid = attempt(text)
    if (jid === undefined) return
    taken++
    const again = parseJid(jid.toString())
    if (!again.equals(jid) || again.toString() !== jid.toString()) throw new Error(`not stable: ${JSON.stringify(jid)}`)
    const { local, domain, resource } = jid
    if (!jidOf(local, domain, resource).equals(jid)) throw new Error('its parts make another address')
    for (const part of [local, domain,
      resource]) if (Buffer.byteLength(part) > 1023 || /[\0\p{Cs}]/u.test(part)) throw new Error('an impossible part')
    if (jid.bare.toString() !== (local === '' ? domain : `${local}@${domain}`)) throw new Error('another bare address')
  }), { numRuns: 4000, seed: 42 })
  t.ok(taken > 200, `${taken} of 4000 texts were accepted`)
})

t.test('any two addresses are equal exactly if their prepared texts are', async t => {
  fc.assert(fc.property(address, address, fc.boolean(), (one, other, twice) => {
    const [a, b] = [attempt(one), attempt(twice ? one : other)]
    if (a === undefined || b === undefined) return
    if (a.equals(b) !== (a.toString() === b.toString()) || a.equals(b) !== b.equals(a)) throw new Error(`${a} ${b}`)
  }), { numRuns: 1000, seed: 42 })
  t.pass('1000 pairs')
})

/** True in ranges where characters differ much from their neighbours. */
function isDense (point: number): boolean {
  return point < 0x3400 || (point >= 0xa000 && point < 0xac00) || (point >= 0xf900 && point < 0x12000) ||
    (point >= 0x1d000 && point < 0x1f000)
}

t.test('preparing any character twice changes nothing more, or it is refused with a PrepError', async t => {
  const profiles = { usernameCaseMapped, opaqueString, nickname, nicknameKey }
  let taken = 0
  for (const [name, profile] of Object.entries(profiles)) {
    for (let point = 0; point < 0x32000; point += isDense(point) ? 1 : 97) {
      try {
        const prepared = profile(String.fromCodePoint(point))
        taken++
        if (profile(prepared) !== prepared) t.fail(`${name}: U+${point.toString(16)} changes again`)
      } catch (error) {
        if (!(error instanceof PrepError)) throw error
      }
    }
  }
  t.ok(taken > 50_000, `${taken} were accepted`)
})

t.test('Node accepts the same address literals, except for those with zones', async t => {
  const group = fc.oneof(fc.constantFrom('', '0', '::', '1', 'ffff', '10000', 'g'), fc.integer({ min: 0,
    max: 65_535 }).map(number => number.toString(16)))
  const inner = fc.oneof(fc.ipV6(), fc.array(group, { maxLength: 9 }).map(groups => groups.join(':')), fc.tuple(fc.array(group,
    { maxLength: 6 }), fc.ipV4()).map(([groups, ip]) => `${groups.join(':')}:${ip}`))
  fc.assert(fc.property(inner, text => {
    if ((attempt(`[${text}]`) !== undefined) !== isIPv6(text)) throw new Error(`${text}: Node says ${isIPv6(text)}`)
  }), { numRuns: 2000, seed: 42 })
  const number = fc.oneof(fc.integer({ min: 0, max: 300 }).map(String), fc.constantFrom('00', '01', '255', '256'))
  fc.assert(fc.property(fc.tuple(number, number, number, number).map(numbers => numbers.join('.')), text => {
    if ((attempt(text) !== undefined) !== isIPv4(text)) throw new Error(text)
  }), { numRuns: 500, seed: 42 })
  t.pass('2500 texts')
})

t.test('a domain can be prepared alone as well', async t => {
  t.equal(idnaDomain('M\u00dcnchen.DE.'), 'm\u00fcnchen.de')
  refuses(t, () => idnaDomain(''), PrepError)
  refuses(t, () => idnaDomain('b\u00fccher..de'), PrepError)
})
