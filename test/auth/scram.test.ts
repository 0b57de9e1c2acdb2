import t from 'tap'
import { createHash, pbkdf2Sync } from 'node:crypto'
import { keysFrom } from '../../lib/auth/keys.js'
import { MECHANISMS, start, type MechanismName } from '../../lib/auth/mechanisms.js'
import { downgradeHash, scram } from '../../lib/auth/scram.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { advertisedBy, contextOf, DOMAIN, END_POINT, EXPORTED, openAccounts, outcome, play, SCRAM, settled, romeoStage,
  textOf } from './stage.js'

t.test('SCRAM produces the examples of RFC 5802 and RFC 7677', async t => {
  const vectors = [{
    name: 'SCRAM-SHA-1', hash: 'sha-1', size: 20, digest: 'sha1', salt: 'QSXCR+Q6sek8bf92', client: 'fyko+d2lbbFgONRv9qkxdawL',
    server: '3rfcNHYJY1ZVvWVs7j',
    proof: 'v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=', verifier: 'rmF9pqV8S7suAoZWja4dJRkFsKQ=',
  }, {
    name: 'SCRAM-SHA-256', hash: 'sha-256', size: 32, digest: 'sha256', salt: 'W22ZaJ0SNY7soEsUEjb6gQ==', client: 'rOprNGfwEbeRWgbNEkqO',
    server: '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0', proof: 'dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
    verifier: '6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
  }] as const
  for (const { name, hash, size, digest, salt, client, server, proof, verifier } of vectors) {
    const { accounts, records } = await openAccounts()
    const salted = pbkdf2Sync('pencil', Buffer.from(salt, 'base64'), 4096, size, digest)
    await records.put(DOMAIN, 'user', { created: 0, keys: { [hash]: { salt, iterations: 4096, ...keysFrom(salted, hash) } } })
    const step = scram(name, contextOf(accounts, { ids: { next: () => server } }), undefined)
    t.equal(textOf(await step(Buffer.from(`n,,n=user,r=${client}`))), `r=${client}${server},s=${salt},i=4096`)
    const last = await step(Buffer.from(`c=biws,r=${client}${server},p=${proof}`))
    t.equal(settled(last), 'user@example.org', name)
    t.equal(textOf(last), `v=${verifier}`)
  }
})

t.test('with every hash the right password is accepted, and the server proves that it knows it', async t => {
  const { begin } = await romeoStage()
  for (const [name, hash] of SCRAM) {
    const right = await play(begin(name), { username: 'romeo', password: 'pencil', hash })
    t.equal(settled(right.last), 'romeo@example.org', name)
    t.ok(right.verified, `${name}: v= is right`)
    const wrong = await play(begin(name), { username: 'romeo', password: 'pencils', hash })
    t.match(wrong.last, { condition: 'not-authorized', reason: 'invalid-proof', who: 'romeo' }, name)
    for (const binding of [EXPORTED, END_POINT]) {
      const bound = await play(begin(`${name}-PLUS`), { username: 'romeo', password: 'pencil', hash, header: `p=${binding.type},,`,
        binding: binding.bytes() })
      t.equal(settled(bound.last), 'romeo@example.org', `${name}-PLUS with ${binding.type}`)
      t.ok(bound.verified)
    }
  }
})

t.test('different spellings of a name are equal, and a name may hold characters that SCRAM escapes', async t => {
  const { accounts, begin } = await romeoStage()
  await accounts.create(parseJid('a=b,c@example.org'), 'pencil')
  await accounts.create(parseJid('jürgen@example.org'), 'pa\u00adss\u2168')
  const rows: readonly (readonly [string, string, string])[] = [
    ['Romeo', 'pencil', 'romeo@example.org'],
    ['ＲＯＭＥＯ', 'pencil', 'romeo@example.org'],
    ['a=3Db=2Cc', 'pencil', 'a=b,c@example.org'],
    ['JÜRGEN', 'passIX', 'jürgen@example.org'],
    ['romeo@example.org', 'pencil', 'not-authorized'],
    ['romeo montague', 'pencil', 'not-authorized'],
    ['a=b', 'pencil', 'malformed-request'],
    ['a=2c', 'pencil', 'malformed-request'],
    ['a=', 'pencil', 'malformed-request'],
  ]
  for (const [username, password, expected] of rows) {
    t.equal(settled((await play(begin('SCRAM-SHA-256'), { username, password, hash: 'sha-256' })).last), expected, username)
  }
})

t.test('a malformed first message is refused', async t => {
  const { begin } = await romeoStage({ bindings: [] })
  const rows: readonly (string | Uint8Array)[] = [
    '', 'n', 'n,', 'n,,', 'x,,n=romeo,r=abc', 'N,,n=romeo,r=abc', 'n,n=romeo,r=abc', ',,n=romeo,r=abc', 'n,,,n=romeo,r=abc',
    'n,,r=abc,n=romeo', 'n,,n=romeo', 'n,,n=romeo,r=', 'n,,n=,r=abc', 'n,,n=romeo,r=a\tb', 'n,,n=romeo,r=a b', 'n,,n=romeo,r=aä',
    'n,,n=romeo,r=a\u007f',
    'n,,m=ext,n=romeo,r=abc', 'n,,n=romeo,r=abc,m=ext', 'n,,n=romeo,r=abc,n=juliet', 'n,,n=romeo,r=abc,r=def', 'n,,n=romeo,r=abc,a=juliet',
    'n,,n=romeo,r=abc,', 'n,,n=romeo,r=abc,x', 'n,,n=romeo,r=abc,x=', 'n,,n=romeo,r=abc,xy=1', 'n,,n=romeo,r=abc,1=1', 'n,,n=romeo,r=abc\n',
    'n,a=,n=romeo,r=abc', 'n,a=x=y,n=romeo,r=abc', 'n,b=romeo,n=romeo,r=abc', 'p,,n=romeo,r=abc', 'p=,,n=romeo,r=abc',
    'p=tls_exporter,,n=romeo,r=abc',
    'n,,n=ro\0meo,r=abc', 'n,,n=romeo,r=abc\0', `n,,n=romeo,r=${'a'.repeat(513)}`, `n,,n=${'a'.repeat(3101)},r=abc`,
    `n,,n=romeo,r=abc,x=${'a'.repeat(8192)}`,
    `p=${'a'.repeat(65)},,n=romeo,r=abc`, '\ufeffn,,n=romeo,r=abc',
    Buffer.concat([Buffer.from('n,,n=rom'), Buffer.from([0xff]), Buffer.from(',r=abc')]), Buffer.from('n,,n=rom\xc0\xafeo,r=abc', 'latin1'),
  ]
  for (const message of rows) {
    const step = await begin('SCRAM-SHA-256').step(Buffer.from(message))
    t.equal(outcome(step), 'malformed-request', JSON.stringify(message.toString().slice(0, 80)))
  }
  for (const message of ['n,,n=romeo,r=abc', 'n,,n=romeo,r=abc,x=1,y=a=b', 'y,,n=romeo,r=!~+/=', `n,,n=romeo,r=${'a'.repeat(512)}`]) {
    t.equal(outcome(await begin('SCRAM-SHA-256').step(Buffer.from(message))), 'challenge', message.slice(0, 80))
  }
})

t.test('a final message is refused if it is malformed or differs from the first', async t => {
  const { begin } = await romeoStage()
  const proof = Buffer.alloc(32, 1).toString('base64')
  const rows: readonly (readonly [string, string])[] = [
    ['', 'malformed-request'], ['c=biws', 'malformed-request'], ['c=biws,r=cid', 'malformed-request'],
    [`r=cid1,c=biws,p=${proof}`, 'malformed-request'], [`c=biws,p=${proof},r=cid1`, 'malformed-request'],
    [`c=biws,r=cid1,p=${proof},x=1`, 'malformed-request'],
    [`c=biws,r=cid1,p=${proof},p=${proof}`, 'malformed-request'], [`c=,r=cid1,p=${proof}`, 'malformed-request'],
    ['c=biws,r=cid1,p=', 'malformed-request'],
    [`c=bi ws,r=cid1,p=${proof}`, 'malformed-request'], [`c=biw,r=cid1,p=${proof}`, 'malformed-request'],
    [`c=biws,r=cid1,p=${proof.slice(1)}`, 'malformed-request'],
    [`c=biws,r=cid1,m=1,p=${proof}`, 'malformed-request'], [`c=biws,r=cid1,x,p=${proof}`, 'malformed-request'],
    [`c=biws,c=biws,r=cid1,p=${proof}`, 'malformed-request'],
    [`c=biws,r=cid1,p=${proof}\n`, 'malformed-request'], [`c=biws,r=cid1,p=${'A'.repeat(8192)}`, 'malformed-request'],
    [`c=biws,r=cid2,p=${proof}`, 'not-authorized'], [`c=biws,r=c,p=${proof}`, 'not-authorized'],
    [`c=biws,r=cid11,p=${proof}`, 'not-authorized'],
    [`c=eSws,r=cid1,p=${proof}`, 'not-authorized'], [`c=biwsAA==,r=cid1,p=${proof}`, 'not-authorized'],
    ['c=biws,r=cid1,p=AAAA', 'not-authorized'], [`c=biws,r=cid1,p=${proof}`, 'not-authorized'],
    [`c=biws,r=cid1,x=1,p=${proof}`, 'not-authorized'],
  ]
  for (const [message, expected] of rows) {
    const { context } = await romeoStage()
    const dialogue = start('SCRAM-SHA-256', context, advertisedBy(context))
    t.match(textOf(await dialogue.step(Buffer.from('n,,n=romeo,r=c'))), /^r=cid1,/)
    t.equal(outcome(await dialogue.step(Buffer.from(message))), expected, message.slice(0, 80))
  }
  const over = begin('SCRAM-SHA-256')
  await over.step(Buffer.from('nonsense'))
  t.equal(outcome(await over.step(Buffer.from('n,,n=romeo,r=c'))), 'malformed-request', 'a failed attempt stays failed')
})

t.test("a binding to another connection than the client's is refused", async t => {
  const { begin } = await romeoStage()
  const login = { username: 'romeo', password: 'pencil', hash: 'sha-256' } as const
  const header = 'p=tls-exporter,,'
  const right = EXPORTED.bytes()
  const rows: readonly (readonly [string, Uint8Array, MechanismName, string])[] = [
    [header, Buffer.alloc(32, 'other'), 'SCRAM-SHA-256-PLUS', 'channel-bindings-dont-match'],
    [header, right.subarray(1), 'SCRAM-SHA-256-PLUS', 'channel-bindings-dont-match'],
    [header, Buffer.concat([right, right]), 'SCRAM-SHA-256-PLUS', 'channel-bindings-dont-match'],
    [header, END_POINT.bytes(), 'SCRAM-SHA-256-PLUS', 'channel-bindings-dont-match'],
    ['p=tls-unique,,', right, 'SCRAM-SHA-256-PLUS', 'unsupported-channel-binding-type'],
    ['p=TLS-EXPORTER,,', right, 'SCRAM-SHA-256-PLUS', 'unsupported-channel-binding-type'],
    ['n,,', right, 'SCRAM-SHA-256-PLUS', 'channel-binding-not-provided'],
    ['y,,', right, 'SCRAM-SHA-256-PLUS', 'channel-binding-not-provided'],
    [header, right, 'SCRAM-SHA-256', 'channel binding needs a -PLUS mechanism'],
    ['n,,', right, 'SCRAM-SHA-256', 'channel-bindings-dont-match'],
  ]
  for (const [header, binding, name, reason] of rows) {
    const { last } = await play(begin(name), { ...login, header, binding })
    t.match(last, { kind: 'failure', reason }, `${name} with ${header} ${reason}`)
  }
})

t.test('a shortened list of mechanisms is detected', async t => {
  const login = { username: 'romeo', password: 'pencil', hash: 'sha-256' } as const
  const { begin, context } = await romeoStage()
  t.match((await play(begin('SCRAM-SHA-256'), { ...login, header: 'y,,' })).last,
    { condition: 'not-authorized', reason: 'server-does-support-channel-binding' })
  t.equal(settled((await play(begin('SCRAM-SHA-256'), { ...login, header: 'n,,' })).last), 'romeo@example.org',
    'a client may be unable to bind')
  const unbound = await romeoStage({ bindings: [] })
  t.equal(settled((await play(unbound.begin('SCRAM-SHA-256'), { ...login, header: 'y,,' })).last), 'romeo@example.org',
    '"y" is allowed if no binding was offered')

  const failing = await romeoStage()
  failing.records.broken = true
  t.equal(outcome((await play(failing.begin('SCRAM-SHA-256'), { ...login, header: 'y,,' })).last), 'temporary-auth-failure',
    'a client may try without binding after storage failed: that is no guess')

  // The example of XEP-0474 §4.3, with its hash.
  t.equal(downgradeHash({ mechanisms: ['SCRAM-SHA-1-PLUS', 'SCRAM-SHA-1'], bindings: ['tls-server-end-point', 'tls-exporter'] },
    'sha-1'), 'G6k/rBLDqgOhRRaCuuatSDFkJ08=')
  const sorted = (list: readonly string[]): string => [...list].sort().join('\x1e')
  for (const [name, hash] of SCRAM) {
    const digest = (text: string): string => createHash(hash.replace('-', '')).update(text).digest('base64')
    const { first } = await play(begin(name), { ...login, hash })
    t.match(first, `,h=${digest(`${sorted(MECHANISMS.filter(name => name !== 'EXTERNAL'))}\x1ftls-exporter\x1etls-server-end-point`)}`,
      name)
    const plain = await play(start(name, context, { mechanisms: [name], bindings: undefined }), { ...login, hash })
    t.match(plain.first, `,h=${digest(name)}`, 'only what was advertised')
  }
})
