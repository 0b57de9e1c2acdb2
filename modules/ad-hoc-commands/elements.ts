/** The elements of ad-hoc commands (XEP-0050 §4): what is asked, and what is answered. */
import { attributeOf, clone, formIn, FormError, NS, StanzaError, xml } from '../../lib/api.js'
import type { CommandResult, CommandStep, Element, FormAnswers } from '../../lib/api.js'

const ACTIONS = ['execute', 'cancel', 'prev', 'next', 'complete'] as const
export type Action = typeof ACTIONS[number]

/** The conditions of XEP-0050 §4.4, each with that of RFC 6120 which it refines. */
const CONDITIONS = {
  'malformed-action': 'bad-request',
  'bad-action': 'bad-request',
  'bad-payload': 'bad-request',
  'bad-sessionid': 'bad-request',
  'session-expired': 'not-allowed',
} as const

/** Returns the error of a command that cannot go on. */
export function fault (condition: keyof typeof CONDITIONS, text?: string): StanzaError {
  return new StanzaError(CONDITIONS[condition], text, { plus: xml(condition, { xmlns: NS.COMMANDS }) })
}

/** Reads the action; 'execute' if there is none. Throws malformed-action. */
export function actionIn (command: Element): Action {
  const written = attributeOf(command, 'action') ?? 'execute'
  const action = ACTIONS.find(action => action === written)
  if (action === undefined) throw fault('malformed-action')
  return action
}

/** True if the command has a form that is filled in. */
export function isSubmitted (command: Element): boolean {
  const form = formIn(command)
  return form !== undefined && attributeOf(form, 'type') === 'submit'
}

/** Reads the submitted form of a step. Throws bad-payload. */
export function answersIn (command: Element, { form }: CommandStep): FormAnswers {
  const found = formIn(command)
  if (found === undefined) throw fault('bad-payload', 'the form is missing')
  try {
    if (attributeOf(found, 'type') !== 'cancel') return form.read(found)
    // §3.5.1: a cancelled form counts as submitted.
    const submitted = clone(found)
    submitted.attrs['type'] = 'submit'
    return form.read(submitted)
  } catch (error) {
    throw badPayload(error)
  }
}

/** Returns the error for a form that does not fit; any other error unchanged. */
export function badPayload (error: unknown): unknown {
  return error instanceof FormError ? fault('bad-payload', error.text) : error
}

/** A command that runs, as its answer names it. */
interface Named { readonly node: string, readonly id: string }

/** Returns the answer that shows a step. `at` is its index among `count` steps. */
export function shownStep (run: Named, form: Element, at: number, count: number): Element {
  const onward = at === count - 1 ? 'complete' : 'next'
  // §3.4: `execute` names one of the actions that are allowed.
  const actions = xml('actions', { execute: onward }, at > 0 ? xml('prev') : undefined, xml(onward))
  return commandElement(run, 'executing', actions, form)
}

export function completed (run: Named, { payload, notes = [] }: CommandResult): Element {
  return commandElement(run, 'completed', payload, ...notes.map(({ type, text }) => xml('note', { type }, text)))
}

export function canceled (run: Named): Element { return commandElement(run, 'canceled') }

function commandElement (
  { node, id }: Named, status: 'executing' | 'completed' | 'canceled', ...children: readonly (Element | undefined)[]
): Element {
  return xml('command', { xmlns: NS.COMMANDS, node, sessionid: id, status, 'xml:lang': 'en' }, ...children)
}
