/** What a command that takes long says meanwhile, and whether anybody still listens. */

/** One line of a long command: how far it is, what it could not do, or what else its operator should know. */
export type Told =
  | { readonly kind: 'progress', readonly done: number, readonly of: number, readonly text: string }
  | { readonly kind: 'problem' | 'note', readonly text: string }

export interface Talk {
  /** Resolves once there is room for more. */
  tell (told: Told): Promise<void>
  /** Nobody listens any more: the command ends after the step it is at. */
  readonly gone: boolean
}

/** Nobody listens, and nobody ends it. */
export const unheard: Talk = { tell: () => Promise.resolve(), gone: false }

/** What an operator did wrong, in a line. */
export class CommandError extends Error {}
