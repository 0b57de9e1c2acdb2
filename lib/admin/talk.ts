/** The reports of a long command while it runs. */

/**
 * One report of a long command: its progress, something it could not do, a note for the operator, or a step of a trace.
 */
export type Report =
  | { readonly kind: 'progress', readonly done: number, readonly of: number, readonly text: string }
  | { readonly kind: 'problem' | 'note', readonly text: string }
  | TracedStep
  // `steps` of a trace were not told, because the reader was slow.
  | { readonly kind: 'lost', readonly steps: number }

/** One step of a stanza in a trace. */
export interface TracedStep {
  readonly kind: 'step'
  /** The number of the stanza since the start of the server. */
  readonly number: number
  /** The time (ISO 8601), and the milliseconds since the first step that was seen. */
  readonly at: string
  readonly passed: number
  readonly step: string
  readonly outcome: string
  readonly reason?: string
  /** Describes the stanza, with its first step. */
  readonly stanza?: TracedStanza
}

export interface TracedStanza {
  readonly kind: string
  readonly type: string
  readonly id?: string
  readonly from: string
  readonly to?: string
  /** The names of its children. */
  readonly holds: string
  /** The stanza as XML without secrets, if bodies are shown; cut if it is long. */
  readonly content?: string
}

/** The operator's end, as a command sees it. */
export interface Operator {
  /** Sends a report; resolves when there is room for more. */
  tell (told: Report): Promise<void>
  /** True if the operator has gone: the command ends after its current step. */
  readonly gone: boolean
}

/** A mistake of the operator. The message is one line that says what is wrong. */
export class CommandError extends Error {}
