/** SCRAM (RFC 5802; RFC 7677 for SHA-256), with channel binding, and protection against downgrades (XEP-0474). */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { ChannelBinding } from './channel-binding.js'
import { SaslFault } from './fault.js'
import { accountNamed, admitted, checkAuthorization } from './identity.js'
import { HASHES, type HashName, type Keys } from './keys.js'
import type { Advertised, Exchange, MechanismContext } from './mechanism.js'
import { parseClientFinal, parseClientFirst, type ClientFinal, type ClientFirst } from './scram-messages.js'
import type { Jid } from '../xmpp/jid.js'

export type ScramName = `SCRAM-SHA-${'1' | '256' | '512'}${'' | '-PLUS'}`

/** The state between the client's first message and its proof. */
interface Pending {
  readonly account: Jid
  readonly keys: Keys
  readonly nonce: string
  /** The required value of `c=`: the gs2 header, then the channel binding data. */
  readonly binding: Buffer
  /** The AuthMessage up to the client's last part. */
  readonly said: string
}

/**
 * Takes two messages of the client: its name and nonce, then its proof. `advertised` is undefined only if nothing was
 * advertised: then nothing can have been removed.
 */
export function scram (name: ScramName, context: MechanismContext, advertised: Advertised | undefined): Exchange {
  const hash = HASH_OF[name]
  let pending: Pending | undefined
  return async message => {
    if (pending !== undefined) return await conclude(parseClientFinal(message), pending, hash, context)
    const first = parseClientFirst(message)
    const binding = bindingFor(first, name, context.bindings)
    const account = accountNamed(first.username, context.accounts)
    checkAuthorization(first.identity, account)
    await context.admit?.(account)
    const keys = await context.accounts.credentials(account.local, hash)
    // Checked after the keys are read: while storage fails, a client retries without channel binding, and that is no
    // downgrade by an attacker.
    checkDowngrade(first, advertised)
    const nonce = first.nonce + context.ids.next()
    const extension = advertised === undefined ? '' : `,h=${downgradeHash(advertised, hash)}`
    const answer = `r=${nonce},s=${keys.salt},i=${keys.iterations}${extension}`
    pending = { account, keys, nonce, binding, said: `${first.bare},${answer}` }
    return { kind: 'challenge', data: Buffer.from(answer) }
  }
}

/** The hash of each SCRAM mechanism. */
export const HASH_OF: Readonly<Record<ScramName, HashName>> = {
  'SCRAM-SHA-1': 'sha-1',
  'SCRAM-SHA-1-PLUS': 'sha-1',
  'SCRAM-SHA-256': 'sha-256',
  'SCRAM-SHA-256-PLUS': 'sha-256',
  'SCRAM-SHA-512': 'sha-512',
  'SCRAM-SHA-512-PLUS': 'sha-512',
}

/** XEP-0474 §4.1: the hash of what the server advertised. The client compares it with what it received. */
export function downgradeHash ({ mechanisms, bindings }: Advertised, hash: HashName): string {
  // Names of mechanisms and bindings are ASCII: the order of code units is the order of octets.
  const lists = bindings === undefined || bindings.length === 0 ? [mechanisms] : [mechanisms, bindings]
  const text = lists.map(list => [...list].sort().join('\x1e')).join('\x1f')
  return createHash(HASHES[hash].digest).update(text).digest('base64')
}

/** RFC 5802 §6: checks the client's flag and returns the required channel binding. Throws SaslFault. */
function bindingFor (first: ClientFirst, name: ScramName, bindings: readonly ChannelBinding[]): Buffer {
  const header = Buffer.from(first.header)
  const isPlus = name.endsWith('-PLUS')
  if (first.flag !== 'p') {
    if (isPlus) throw new SaslFault('malformed-request', 'channel-binding-not-provided')
    return header
  }
  if (!isPlus) throw new SaslFault('malformed-request', 'channel binding needs a -PLUS mechanism')
  const binding = bindings.find(binding => binding.type === first.type)
  if (binding === undefined) throw new SaslFault('not-authorized', 'unsupported-channel-binding-type')
  return Buffer.concat([header, binding.bytes()])
}

/**
 * Checks the flag "y" (RFC 5802 §6): the client could bind, and saw no offer of it. If the server offered it, somebody
 * in between has removed it from the list. Throws SaslFault.
 */
function checkDowngrade (first: ClientFirst, advertised: Advertised | undefined): void {
  const isPlus = (name: string): boolean => name.startsWith('SCRAM-') && name.endsWith('-PLUS')
  const shown = advertised?.mechanisms.some(isPlus) ?? false
  if (first.flag === 'y' && shown) throw new SaslFault('not-authorized', 'server-does-support-channel-binding')
}

async function conclude (final: ClientFinal, pending: Pending, hash: HashName, { accounts }: MechanismContext) {
  const { account, keys, nonce, binding, said } = pending
  const who = account.local
  if (!isSame(Buffer.from(final.nonce), Buffer.from(nonce))) throw new SaslFault('not-authorized', 'other-error', who)
  if (!isSame(final.binding, binding)) throw new SaslFault('not-authorized', 'channel-bindings-dont-match', who)
  const { digest, size } = HASHES[hash]
  if (final.proof.length !== size) throw new SaslFault('not-authorized', WRONG, who)
  const message = `${said},${final.withoutProof}`
  const signature = createHmac(digest, Buffer.from(keys.storedKey, 'base64')).update(message).digest()
  const clientKey = Buffer.from(final.proof.map((byte, index) => byte ^ (signature[index] ?? 0)))
  const verifier = createHmac(digest, Buffer.from(keys.serverKey, 'base64')).update(message).digest('base64')
  const storedKey = createHash(digest).update(clientKey).digest()
  if (!isSame(storedKey, Buffer.from(keys.storedKey, 'base64'))) throw new SaslFault('not-authorized', WRONG, who)
  return { kind: 'success' as const, account: await admitted(account, accounts), data: Buffer.from(`v=${verifier}`) }
}

/** The same text for a wrong password and for an unknown account. */
const WRONG = 'invalid-proof'

function isSame (a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
