/** XEP-0441 Message Archive Management Preferences: whose messages an account wants to be kept. */
import { attributeOf, child, children, follow, hasForm, JidError, NS, parseJid, StanzaError, textOf, xml } from '../../lib/api.js'
import type { Element, Jid, Maybe } from '../../lib/api.js'

export type Habit = 'always' | 'never' | 'roster'

/** `always` and `never` are addresses as texts; who is in neither goes by `habit`. */
export interface Preferences { readonly habit: Habit, readonly always: readonly string[], readonly never: readonly string[] }

/** Whether what is stored are preferences: nobody's wish not to be archived is taken for none. */
export function arePreferences (value: unknown): boolean {
  return hasForm(value, { habit: 'string', always: 'strings', never: 'strings' }) && HABITS.has(value['habit'])
}

const HABITS: ReadonlySet<unknown> = new Set<Habit>(['always', 'never', 'roster'])

/** §2.3.1: 'undecided' where the roster decides. A listed full address is compared as it is, a bare one with the bare address. */
export function wishFor ({ habit, always, never }: Preferences, contact: Jid): 'keep' | 'leave' | 'undecided' {
  const [full, bare] = [contact.toString(), contact.bare.toString()]
  // §2.3.2: what is listed by its full address goes before what is listed by its bare one.
  if (never.includes(full)) return 'leave'
  if (always.includes(full)) return 'keep'
  if (never.includes(bare)) return 'leave'
  if (always.includes(bare)) return 'keep'
  return habit === 'always' ? 'keep' : habit === 'never' ? 'leave' : 'undecided'
}

export function preferencesElement ({ habit, always, never }: Preferences): Element {
  const list = (name: string, jids: readonly string[]): Element => xml(name, {}, ...jids.map(jid => xml('jid', {}, jid)))
  return xml('prefs', { xmlns: NS.MAM, default: habit }, list('always', always), list('never', never))
}

/** The most bytes that the addresses of an account may have together: clients get them in one answer. */
const MOST_BYTES = 128 * 1024

/** Bytes of the addresses. */
export function bytesOf ({ always, never }: Preferences): number {
  return [...always, ...never].reduce((sum, address) => sum + Buffer.byteLength(address), 0)
}

/** Does something for each of the addresses: their preparation may take long. */
export type Each = (items: readonly Element[], work: (item: Element) => void) => Maybe<void>

/**
 * Throws, or rejects with, StanzaError: bad-request, jid-malformed; resource-constraint if there are more than `most`, or they are
 * too long.
 */
export function readPreferences (element: Element, most: number, each: Each): Maybe<Preferences> {
  const habit = attributeOf(element, 'default')
  if (habit !== 'always' && habit !== 'never' && habit !== 'roster') throw new StanzaError('bad-request', 'no such default')
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
  return follow(each(elements, element => {
    try {
      jids.add(parseJid(textOf(element).trim()).toString())
    } catch (error) {
      if (!(error instanceof JidError)) throw error
      throw new StanzaError('jid-malformed', undefined, { cause: error })
    }
  }), () => [...jids])
}
