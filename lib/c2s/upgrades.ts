/** SASL upgrade tasks (XEP-0480): a client that knows the password gives an account the keys it lacks. */
import { strictBase64 } from '../auth/base64.js'
import { HASHES, keysFrom, type HashName } from '../auth/keys.js'
import type { SaslFailure } from '../auth/mechanisms.js'
import type { Accounts } from '../auth/accounts.js'
import type { Negotiation } from '../stream/negotiation.js'
import { attributeOf, child, localName, namespaceOf, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import type { Authenticate } from './authenticate.js'

/** §4: a task is named after the mechanism without its -PLUS. */
const TASKS: ReadonlyMap<string, HashName> = new Map([
  ['UPGR-SCRAM-SHA-1', 'sha-1'], ['UPGR-SCRAM-SHA-256', 'sha-256'], ['UPGR-SCRAM-SHA-512', 'sha-512'],
])

/**
 * §2.1: the same for everybody, whatever keys they have: the tasks for the mechanisms of the conf. Those that are not offered because some
 * account lacks their keys are among them, for this is how it gets them.
 */
export function upgradeElements (allowed: readonly string[]): readonly Element[] {
  return [...TASKS.keys()].filter(task => ['', '-PLUS'].some(end => allowed.includes(task.slice('UPGR-'.length) + end)))
    .map(task => xml('upgrade', { xmlns: NS.SASL_UPGRADE }, task))
}

export interface Upgrading {
  readonly account: Jid
  readonly asked: Authenticate
  /** What the mechanism said last: it is told with the first thing that is said. */
  readonly additional: Element | undefined
}

export interface Upgraded {
  /** `additional` has been told. */
  readonly told: boolean
  readonly failure: SaslFailure | undefined
}

/** Goes through the tasks that the client wants to do and that are of use. */
export async function upgraded (stream: Negotiation, accounts: Accounts, { account, asked, additional }: Upgrading): Promise<Upgraded> {
  // Only who has just proved to know the password: a token or a certificate must not lead to a password.
  if (asked.upgrades.length === 0 || !isByPassword(asked.mechanism)) return { told: false, failure: undefined }
  let told = false
  for (const [task, hash] of TASKS) {
    if (!asked.upgrades.includes(task) || !await accounts.lacks(account, hash)) continue
    stream.send(xml('continue', { xmlns: NS.SASL2 }, told ? undefined : additional, xml('tasks', {}, xml('task', {}, task))))
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

/** The client's next element; undefined where it gives up (XEP-0388 §4.5). */
async function reply (stream: Negotiation, name: string): Promise<Element | undefined> {
  const message = await stream.next()
  if (namespaceOf(message) !== NS.SASL2) throw new StreamError('policy-violation', 'a login is going on')
  if (localName(message) === 'abort') return undefined
  if (localName(message) !== name) throw new StreamError('policy-violation', `${name} was due`)
  return message
}

const ABORTED: SaslFailure = { kind: 'failure', condition: 'aborted', reason: 'the client gave up' }
const MALFORMED: SaslFailure = { kind: 'failure', condition: 'malformed-request', reason: 'not what the task needs' }
