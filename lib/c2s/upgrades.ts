/** SASL upgrade tasks (XEP-0480): a client that knows the password gives the account the keys that it lacks. */
import { strictBase64 } from '../auth/base64.js'
import { HASHES, keysFrom, type HashName } from '../auth/keys.js'
import type { SaslFailure } from '../auth/mechanism.js'
import type { Accounts } from '../auth/accounts.js'
import type { Negotiation } from '../stream/negotiation.js'
import { attributeOf, child, localName, namespaceOf, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import type { Authenticate } from './authenticate.js'

/** §4: a task is named after its mechanism without -PLUS. */
const TASKS: ReadonlyMap<string, HashName> = new Map([
  ['UPGR-SCRAM-SHA-1', 'sha-1'], ['UPGR-SCRAM-SHA-256', 'sha-256'], ['UPGR-SCRAM-SHA-512', 'sha-512'],
])

/**
 * Returns the offered tasks: those for the mechanisms of the conf, the same for everybody whatever keys an account has
 * (§2.1). They include mechanisms that are not offered because some account lacks the keys: this is how the account
 * gets them.
 */
export function upgradeElements (allowed: readonly string[]): readonly Element[] {
  return [...TASKS.keys()].filter(task => ['', '-PLUS'].some(end => allowed.includes(task.slice('UPGR-'.length) + end)))
    .map(task => xml('upgrade', { xmlns: NS.SASL_UPGRADE }, task))
}

export interface Upgrading {
  readonly account: Jid
  readonly asked: Authenticate
  /** The last message of the mechanism: it is sent with the first element. */
  readonly additional: Element | undefined
}

export interface Upgraded {
  /** True if `additional` was sent. */
  readonly told: boolean
  readonly failure: SaslFailure | undefined
}

/** Runs the tasks that the client offers and the account needs. */
export async function upgraded (
  stream: Negotiation, accounts: Accounts, { account, asked, additional }: Upgrading,
): Promise<Upgraded> {
  // Only after a login by password: a token or a certificate must not lead to a password.
  if (asked.upgrades.length === 0 || !isByPassword(asked.mechanism)) return { told: false, failure: undefined }
  let told = false
  for (const [task, hash] of TASKS) {
    if (!asked.upgrades.includes(task) || !await accounts.lacks(account, hash)) continue
    const tasks = xml('tasks', {}, xml('task', {}, task))
    stream.send(xml('continue', { xmlns: NS.SASL2 }, told ? undefined : additional, tasks))
    told = true
    const failure = await perform(stream, accounts, account, task, hash)
    if (failure !== undefined) return { told, failure }
  }
  return { told, failure: undefined }
}

function isByPassword (mechanism: string): boolean {
  return mechanism === 'PLAIN' || mechanism.startsWith('SCRAM-')
}

async function perform (
  stream: Negotiation, accounts: Accounts, account: Jid, task: string, hash: HashName,
): Promise<SaslFailure | undefined> {
  const next = await reply(stream, 'next')
  if (next === undefined) return ABORTED
  if (attributeOf(next, 'task') !== task) return MALFORMED
  const { salt, iterations } = accounts.newSalt()
  const named = xml('salt', { xmlns: NS.SCRAM_UPGRADE, iterations: String(iterations) }, salt.toString('base64'))
  stream.send(xml('task-data', { xmlns: NS.SASL2 }, named))
  const answer = await reply(stream, 'task-data')
  if (answer === undefined) return ABORTED
  const element = child(answer, NS.SCRAM_UPGRADE, 'hash')
  const salted = element === undefined ? undefined : strictBase64(textOf(element).trim())
  if (salted?.length !== HASHES[hash].size) return MALFORMED
  await accounts.addKeys(account, hash, { salt: salt.toString('base64'), iterations, ...keysFrom(salted, hash) })
  return undefined
}

/** Returns the client's next element; undefined if it aborts (XEP-0388 §4.5). Throws StreamError on another element. */
async function reply (stream: Negotiation, name: string): Promise<Element | undefined> {
  const message = await stream.next()
  if (namespaceOf(message) !== NS.SASL2) throw new StreamError('policy-violation', 'a login is in progress')
  if (localName(message) === 'abort') return undefined
  if (localName(message) !== name) throw new StreamError('policy-violation', `expected <${name}/>`)
  return message
}

const ABORTED: SaslFailure = { kind: 'failure', condition: 'aborted', reason: 'the client aborted the login' }
const MALFORMED: SaslFailure = {
  kind: 'failure', condition: 'malformed-request', reason: 'malformed answer to the upgrade task',
}
