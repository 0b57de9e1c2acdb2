/** XEP-0441 Message Archive Management Preferences: which messages an account wants to be archived. */
import { attributeOf, child, children, follow, hasForm, NS, readJid, StanzaError, textOf, xml } from '../../lib/api.js'
import type { Element, Jid, Maybe } from '../../lib/api.js'

/**
 * The rule for messages of contacts that are in neither list: archived, not archived, or archived if the contact is
 * in the roster.
 */
export type Habit = 'always' | 'never' | 'roster'

/** Addresses whose messages are always or never archived, as strings; `habit` applies to all others. */
export interface Preferences {
  readonly habit: Habit
  readonly always: readonly string[]
  readonly never: readonly string[]
}

/**
 * True if a stored value is valid. An unreadable preference must not be taken for the default, which might archive
 * more.
 */
export function arePreferences (value: unknown): boolean {
  return hasForm(value, { habit: 'string', always: 'strings', never: 'strings' }) && HABITS.has(value['habit'])
}

const HABITS: ReadonlySet<unknown> = new Set<Habit>(['always', 'never', 'roster'])

/**
 * Decides about a contact (§2.3.1); 'undecided' if the roster decides. A listed full address matches itself, a bare one
 * all its resources.
 */
export function wishFor ({ habit, always, never }: Preferences, contact: Jid): 'keep' | 'leave' | 'undecided' {
  const [full, bare] = [contact.toString(), contact.bare.toString()]
  // §2.3.2: a full address takes precedence over a bare one.
  if (never.includes(full)) return 'leave'
  if (always.includes(full)) return 'keep'
  if (never.includes(bare)) return 'leave'
  if (always.includes(bare)) return 'keep'
  return habit === 'always' ? 'keep' : habit === 'never' ? 'leave' : 'undecided'
}

/** Writes preferences as a `<prefs/>` element. */
export function preferencesElement ({ habit, always, never }: Preferences): Element {
  const list = (name: string, jids: readonly string[]): Element => xml(name, {}, ...jids.map(jid => xml('jid', {}, jid)))
  return xml('prefs', { xmlns: NS.MAM, default: habit }, list('always', always), list('never', never))
}

/** The most bytes that the addresses of an account may have together: a client gets them in one answer. */
const MOST_BYTES = 128 * 1024

/** Returns the bytes of all listed addresses. */
export function bytesOf ({ always, never }: Preferences): number {
  return [...always, ...never].reduce((sum, address) => sum + Buffer.byteLength(address), 0)
}

/** Does `work` for each item, over several turns of the event loop if there are many. */
export type Each = (items: readonly Element[], work: (item: Element) => void) => Maybe<void>

/**
 * Reads preferences. Throws, or rejects with, StanzaError: bad-request, jid-malformed, or resource-constraint if there
 * are more than `most` addresses or they are too long.
 */
export function readPreferences (element: Element, most: number, each: Each): Maybe<Preferences> {
  const habit = attributeOf(element, 'default')
  if (habit !== 'always' && habit !== 'never' && habit !== 'roster') throw new StanzaError('bad-request', 'unknown default')
  const [always, never] = [listed(element, 'always'), listed(element, 'never')]
  return follow(prepared(always, each), always => follow(prepared(never, each), never => {
    if (always.length + never.length > most) throw tooMany()
    const preferences: Preferences = { habit, always, never }
    if (bytesOf(preferences) > MOST_BYTES) throw new StanzaError('resource-constraint', 'the addresses are too long', { type: 'modify' })
    return preferences
  }))
}

function tooMany (): StanzaError {
  return new StanzaError('resource-constraint', 'too many addresses', { type: 'modify' })
}

function listed (element: Element, name: string): readonly Element[] {
  const list = child(element, NS.MAM, name)
  return list === undefined ? [] : children(list, NS.MAM, 'jid')
}

function prepared (elements: readonly Element[], each: Each): Maybe<readonly string[]> {
  const jids = new Set<string>()
  return follow(each(elements, element => { jids.add(readJid(textOf(element).trim()).toString()) }), () => [...jids])
}
