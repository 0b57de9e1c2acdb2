/** Logins on a host with imported accounts, as streams see them: SASL and SASL2. */
import { newKeys, sharedDerivations } from '../../lib/auth/keys.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { auth, DOMAIN, header, PASSWORD, scene, type Stage } from './stage.js'

const MECHANISMS = { mechanisms: ['SCRAM-SHA-512-PLUS', 'SCRAM-SHA-256-PLUS', 'SCRAM-SHA-1-PLUS', 'SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN'] }

/** Creates an account with keys for SHA-1 only. */
async function imports (s: Stage, local: string): Promise<void> {
  const account = parseJid(`${local}@${DOMAIN}`)
  const batch = new PendingBatch()
  batch.add(await s.host.accounts.arriving(account, undefined))
  await s.host.commit(batch)
  await s.host.accounts.addKeys(account, 'sha-1', await newKeys(PASSWORD, 'sha-1', 4096, sharedDerivations))
}

/** Returns the mechanisms that a new stream offers: by SASL, and by SASL2. */
async function offers (s: Stage): Promise<readonly (readonly string[])[]> {
  const client = s.connect({ secure: true })
  await client.says(header())
  const lists = ['<mechanisms .*?</mechanisms>', '<authentication .*?<inline'].map(pattern => new RegExp(pattern).exec(client.heard)?.[0] ?? '')
  return lists.map(list => [...list.matchAll(/<mechanism>([^<]+)</g)].map(([, name]) => name ?? ''))
}

scene('if an account has keys for SHA-1 only, no other hash is offered by either profile, until a login by PLAIN adds its keys', {
  authentication: MECHANISMS,
}, async (t, s) => {
  const all = await offers(s)
  t.same(all, [MECHANISMS.mechanisms, MECHANISMS.mechanisms])
  await imports(s, 'nurse')
  const old = MECHANISMS.mechanisms.filter(name => !/256|512/.test(name))
  t.same(await offers(s), [old, old])

  const client = s.connect({ secure: true })
  await client.opens()
  t.match(client.heard, /UPGR-SCRAM-SHA-1<.*UPGR-SCRAM-SHA-256<.*UPGR-SCRAM-SHA-512</s, 'the upgrades are offered (XEP-0480)')
  await client.says(auth('SCRAM-SHA-256', 'n,,n=nurse,r=abc'))
  t.match(client.heard, /<failure [^>]*><invalid-mechanism/, 'a mechanism that is not offered is refused')
  await client.says(auth('PLAIN', `\0nurse\0${PASSWORD}`))
  await client.until('<success')
  t.same(await offers(s), all)
})

scene('if the only account with keys of one hash is removed, all hashes are offered again', { authentication: MECHANISMS }, async (t, s) => {
  const all = await offers(s)
  await imports(s, 'nurse')
  t.notSame(await offers(s), all)
  await s.host.removeAccount(parseJid(`nurse@${DOMAIN}`))
  await s.settled()
  t.same(await offers(s), all)
})
