import t from 'tap'
import { Derivations, HASHES } from '../../lib/auth/keys.js'
import { MECHANISMS, offered, start } from '../../lib/auth/mechanisms.js'
import type { SaslStep } from '../../lib/auth/mechanism.js'
import { StorageUnavailable } from '../../lib/storage/store.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { makeAuthority } from './authority.js'
import {
  advertisedBy, contextOf, cryptoCalls, DOMAIN, EXPORTED, openAccounts, outcome, plainOf, play, ROMEO, romeoStage,
  SCRAM, settled, textOf,
} from './stage.js'

// ---- No information for strangers -----------------------------------------------

t.test('an unknown user is asked for a password like any other', async t => {
  const { records, begin } = await romeoStage()
  for (const [name, hash] of SCRAM) {
    const ask = async (who: string) => {
      records.calls.length = 0
      const dialogue = begin(name)
      let steps: readonly SaslStep[] = []
      const calls = await cryptoCalls(async () => {
        const first = await dialogue.step(Buffer.from(`n,,n=${who},r=c`))
        const nonce = /^r=([^,]+)/.exec(textOf(first))?.[1] ?? ''
        const proof = Buffer.alloc(HASHES[hash].size).toString('base64')
        steps = [first, await dialogue.step(Buffer.from(`c=biws,r=${nonce},p=${proof}`))]
      })
      return { calls, reads: [...records.calls], steps }
    }
    const [known, stranger] = [await ask('romeo'), await ask('nobody')]
    t.ok(known.calls.length >= 8, `${name}: the calls are counted`)
    t.strictSame(stranger.calls, known.calls, `${name}: the same calls to cryptography`)
    t.strictSame(stranger.reads, known.reads, `${name}: the same calls to storage`)
    t.strictSame(known.reads, ['get'])
    const challenge = ({ steps: [first] }: typeof known): string => first === undefined ? '' : textOf(first)
    const form = (text: string): string => text.replace(/r=cid\d+/, 'r=').replace(/s=[^,]{24}/, 's=')
    t.equal(form(challenge(stranger)), form(challenge(known)), `${name}: the same form of challenge`)
    t.strictSame({ ...stranger.steps[1], who: '' }, { ...known.steps[1], who: '' }, `${name}: the same failure`)
    const salt = (text: string): string | undefined => /s=([^,]+)/.exec(text)?.[1]
    t.equal(salt(challenge(await ask('nobody'))), salt(challenge(stranger)), `${name}: the same salt each time`)
  }
  const ask = async (who: string) => {
    records.calls.length = 0
    let step: SaslStep | undefined
    const calls = await cryptoCalls(async () => { step = await begin('PLAIN').step(plainOf('', who, 'wrong')) })
    return { calls, reads: [...records.calls], step: { ...step, who: '' } }
  }
  const known = await ask('romeo')
  t.strictSame(await ask('nobody'), known, 'PLAIN: the same calls and the same failure')
  t.match(known, { reads: ['get'], step: { condition: 'not-authorized', reason: 'wrong user name or password' } })
})

t.test('only the owner of an account gets to know that it is locked', async t => {
  const { accounts, begin } = await romeoStage()
  await accounts.lock(ROMEO, 'spam')
  for (const [name, hash] of SCRAM) {
    t.equal(outcome((await play(begin(name), { username: 'romeo', password: 'pencil', hash })).last), 'account-disabled', name)
    t.equal(outcome((await play(begin(name), { username: 'romeo', password: 'pen', hash })).last), 'not-authorized', name)
  }
  t.equal(outcome(await begin('PLAIN').step(plainOf('', 'romeo', 'pencil'))), 'account-disabled')
  t.equal(outcome(await begin('PLAIN').step(plainOf('', 'romeo', 'pen'))), 'not-authorized')
})

t.test('an account that is removed during a login cannot log in', async t => {
  const { accounts, records, begin } = await romeoStage()
  const dialogue = begin('SCRAM-SHA-256')
  const removing = { mechanism: '', step: async (message: Uint8Array | undefined) => {
    const step = await dialogue.step(message)
    accounts.removing(ROMEO)
    records.commit()
    return step
  } }
  t.equal(outcome((await play(removing, { username: 'romeo', password: 'pencil', hash: 'sha-256' })).last), 'not-authorized')
})

t.test('a client that guesses waits before any look-up', async t => {
  const asked: string[] = []
  let go = (): void => {}
  const { records, begin } = await romeoStage({
    admit: who => {
      asked.push(who.local)
      return new Promise(resolve => { go = resolve })
    },
  })
  for (const attempt of [
    () => begin('PLAIN').step(plainOf('', 'ROMEO', 'pencil')),
    () => begin('SCRAM-SHA-1').step(Buffer.from('n,,n=ROMEO,r=c')),
  ]) {
    records.calls.length = 0
    const step = attempt()
    await new Promise(setImmediate)
    t.strictSame(records.calls, [])
    go()
    t.not(outcome(await step), 'failure')
  }
  t.strictSame(asked, ['romeo', 'romeo'])
})

// ---- PLAIN ------------------------------------------------------------------------

t.test('PLAIN accepts the right password inside TLS, and refuses any malformed message', async t => {
  const { accounts, begin, context } = await romeoStage()
  await accounts.create(parseJid('jürgen@example.org'), 'pässword\u2168')
  const rows: readonly (readonly [string | Uint8Array, string])[] = [
    ['', 'malformed-request'], ['romeo', 'malformed-request'], ['\0romeo', 'malformed-request'], ['\0romeo\0', 'malformed-request'],
    ['\0\0pencil', 'malformed-request'], ['romeo\0pencil', 'malformed-request'], ['\0romeo\0pencil\0', 'malformed-request'],
    ['\0romeo\0pencil\0x', 'malformed-request'], [`\0romeo\0${'x'.repeat(4096)}`, 'malformed-request'],
    [Buffer.from('\0romeo\0pen\xffcil', 'latin1'), 'malformed-request'],
    ['\0romeo\0pencils', 'not-authorized'], ['\0romeo\0PENCIL', 'not-authorized'], ['\0romeo\0pen\u0007', 'not-authorized'],
    [`\0romeo\0${'x'.repeat(2000)}`, 'not-authorized'],
    ['\0juliet\0pencil', 'not-authorized'], ['\0ro meo\0pencil', 'not-authorized'], ['\0romeo@example.org\0pencil', 'not-authorized'],
    ['\0romeo\0pencil', 'romeo@example.org'], ['\0ROMEO\0pencil', 'romeo@example.org'],
    ['\0Jürgen\0pa\u0308sswordIX', 'jürgen@example.org'],
  ]
  for (const [message, expected] of rows) t.equal(settled(await begin('PLAIN').step(Buffer.from(message))), expected,
    JSON.stringify(message.toString().slice(0, 60)))
  const advertised = advertisedBy(context)
  t.equal(outcome(await start('PLAIN', { ...context, secure: false }, advertised).step(plainOf('', 'romeo', 'pencil'))),
    'encryption-required')
})

t.test('if too many log in at once, or storage fails, the failure is temporary-auth-failure', async t => {
  const derivations = new Derivations({ atOnce: 1, waiting: 0 })
  const { accounts, records } = await openAccounts({ derivations: new Derivations() })
  await accounts.create(ROMEO, 'pencil')
  const crowded = await openAccounts({ derivations })
  crowded.records.rows.set(DOMAIN, records.rows.get(DOMAIN) ?? new Map())
  const context = contextOf(crowded.accounts)
  const attempts = await Promise.all([1, 2].map(() => start('PLAIN', context, advertisedBy(context)).step(plainOf('', 'romeo', 'pencil'))))
  t.strictSame(attempts.map(outcome).sort(), ['success', 'temporary-auth-failure'])
  crowded.records.broken = true
  const failed = await start('SCRAM-SHA-1', context, advertisedBy(context)).step(Buffer.from('n,,n=romeo,r=c'))
  t.match(failed, { condition: 'temporary-auth-failure', reason: 'internal server error',
    error: { message: 'the disk is gone' } })
  crowded.records.get = () => Promise.reject(new StorageUnavailable('the database is away'))
  const away = await start('SCRAM-SHA-1', context, advertisedBy(context)).step(Buffer.from('n,,n=romeo,r=c'))
  t.strictSame(away, { kind: 'failure', condition: 'temporary-auth-failure', reason: 'the storage is unavailable' }, 'an outage is not logged as a defect')
})

// ---- Authorization identities, and offered mechanisms -----------------------------

t.test('no mechanism lets an account act for another', async t => {
  const authority = await makeAuthority('authority')
  const { der } = await authority.issue({ addresses: ['romeo@example.org'] })
  const { accounts, begin } = await romeoStage({ certificate: der })
  await accounts.create(parseJid('juliet@example.org'), 'pencil')
  const identities: readonly (readonly [string, string])[] = [
    ['', 'romeo@example.org'], ['romeo@example.org', 'romeo@example.org'], ['Romeo@Example.ORG', 'romeo@example.org'],
    ['juliet@example.org', 'invalid-authzid'], ['romeo@example.net', 'invalid-authzid'], ['romeo@example.org/orchard', 'invalid-authzid'],
    ['romeo', 'invalid-authzid'], ['example.org', 'invalid-authzid'], ['@example.org', 'invalid-authzid'], ['romeo@', 'invalid-authzid'],
    ['nobody@example.org', 'invalid-authzid'], ['romeo@example.org ', 'invalid-authzid'],
  ]
  for (const [identity, expected] of identities) {
    t.equal(settled(await begin('PLAIN').step(plainOf(identity, 'romeo', 'pencil'))), expected, `PLAIN as "${identity}"`)
    t.equal(settled(await begin('EXTERNAL').step(Buffer.from(identity))), expected, `EXTERNAL as "${identity}"`)
    for (const [name, hash] of SCRAM) {
      const escaped = identity === '' ? '' : `a=${identity.replaceAll('=', '=3D').replaceAll(',', '=2C')}`
      for (const [mechanism, flag, binding] of [[name, 'n', undefined], [`${name}-PLUS`, 'p=tls-exporter', EXPORTED.bytes()]] as const) {
        const header = `${flag},${escaped},`
        const { last } = await play(begin(mechanism), { username: 'romeo', password: 'pencil', hash, header,
          ...binding === undefined ? {} : { binding } })
        t.equal(settled(last), expected, `${mechanism} as "${identity}"`)
      }
    }
  }
})

t.test('a stream offers the mechanisms that it can use, the strongest first, and accepts no other', async t => {
  const authority = await makeAuthority('authority')
  const { der } = await authority.issue({ addresses: ['romeo@example.org'] })
  const { context, accounts } = await romeoStage({ certificate: der })
  t.strictSame(offered(context), MECHANISMS)
  const plus = MECHANISMS.filter(name => name.endsWith('-PLUS'))
  const without = (...names: readonly string[]): readonly string[] => MECHANISMS.filter(name => !names.includes(name))
  t.strictSame(offered({ ...context, certificate: undefined }), without('EXTERNAL'))
  t.strictSame(offered({ ...context, certificate: (await authority.issue({ addresses: ['romeo@example.net'] })).der }), without('EXTERNAL'))
  t.strictSame(offered({ ...context, bindings: [] }), without(...plus))
  t.strictSame(offered({ ...context, secure: false, bindings: [], certificate: undefined }), without(...plus, 'PLAIN', 'EXTERNAL'))
  t.strictSame(offered({ ...context, allowed: ['PLAIN', 'SCRAM-SHA-1', 'X-MADE-UP'] }), ['SCRAM-SHA-1', 'PLAIN'])
  const message = plainOf('', 'romeo', 'pencil')
  for (const name of ['', 'plain', 'PLAIN ', 'ANONYMOUS', 'DIGEST-MD5', 'SCRAM-SHA-1', 'constructor']) {
    const dialogue = start(name, contextOf(accounts), { mechanisms: ['PLAIN', 'X-MADE-UP'], bindings: undefined })
    t.equal(outcome(await dialogue.step(undefined)), 'invalid-mechanism', name)
    t.equal(outcome(await dialogue.step(message)), 'malformed-request', 'the attempt has ended')
  }
  t.equal(outcome(await start('X-MADE-UP', context, { mechanisms: ['X-MADE-UP'], bindings: undefined }).step(message)), 'invalid-mechanism')
})

t.test('a client that sends no initial response gets an empty challenge', async t => {
  const authority = await makeAuthority('authority')
  const { begin } = await romeoStage({ certificate: (await authority.issue({ addresses: ['romeo@example.org'] })).der })
  for (const [name, message, expected] of [['PLAIN', '\0romeo\0pencil', 'success'], ['EXTERNAL', '', 'success'],
    ['SCRAM-SHA-1', 'n,,n=romeo,r=c', 'challenge']] as const) {
    const dialogue = begin(name)
    const first = await dialogue.step(undefined)
    t.equal(outcome(first), 'challenge')
    t.equal(textOf(first), '')
    t.equal(outcome(await dialogue.step(Buffer.from(message))), expected, name)
  }
  const impatient = begin('PLAIN')
  const both = await Promise.all([impatient.step(plainOf('', 'romeo', 'pencil')), impatient.step(plainOf('', 'romeo', 'pencil'))])
  t.strictSame(both.map(outcome), ['success', 'malformed-request'], 'a second answer is refused')
  const silent = begin('PLAIN')
  await silent.step(undefined)
  t.equal(outcome(await silent.step(undefined)), 'malformed-request')
})
