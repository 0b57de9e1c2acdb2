/** Ad-hoc commands (XEP-0050): what a module says of a command. The module `ad-hoc-commands` runs them. */
import type { Maybe } from '../base/maybe.js'
import { service } from '../base/slot.js'
import type { Batch } from '../storage/store.js'
import type { Element } from '../xml/element.js'
import type { DataForm, FilledField, FormAnswers } from '../xmpp/form.js'
import type { Jid } from '../xmpp/jid.js'
import type { Payer } from './cost.js'
import type { Entity } from './entity.js'
import type { Session } from './session.js'

/** Who asks for a command, and where. */
export interface CommandAsker {
  /** The full address of the asker. */
  readonly asker: Jid
  /** The address that has the command: a domain, an account or an entity. */
  readonly to: Jid
  /** The session of the asker, if it is one of this server. */
  readonly session: Session | undefined
  /** The entity that has the command; undefined for a domain and for an account. */
  readonly entity: Entity | undefined
}

/** A command while it runs. `answers` has the submitted form of each step that is done. */
export interface CommandRun extends CommandAsker {
  readonly answers: readonly FormAnswers[]
  readonly batch: Batch
  /** Pays for what the command causes (cost.ts); undefined for requests of the server itself. */
  readonly payer: Payer | undefined
}

/** One step of a command: a form that the asker fills in. `filled` returns what is in the form already. */
export interface CommandStep {
  readonly form: DataForm
  filled? (run: CommandRun): Maybe<readonly FilledField[]>
}

/** The end of a command. A command that has failed has a note of type error (XEP-0050 §3.6). */
export interface CommandResult {
  readonly notes?: readonly { readonly type: 'info' | 'warn' | 'error', readonly text: string }[]
  readonly payload?: Element
}

export interface AdHocCommand {
  /** The name of the command for programs. One place has one command of this name. */
  readonly node: string
  /** The name of the command for people. */
  readonly name: string
  /** Who has the command: the domain, each account, or each entity of the host. */
  readonly at: 'host' | 'account' | 'entity'
  /** True if the asker may run the command. It is asked before each step. Others do not see the command. */
  mayRun (asker: CommandAsker): Maybe<boolean>
  readonly steps?: readonly CommandStep[]
  /**
   * Does the work, after the last step. A FormError goes back to the asker as bad-payload, and the command still runs;
   * so it does after any other StanzaError.
   */
  finish (run: CommandRun): Maybe<CommandResult>
}

/** The ad-hoc commands of a host. */
export interface AdHocCommands {
  /** Adds a command. Returns a function that removes it. Throws if there is one with this node at the same place. */
  declare (command: AdHocCommand): () => void
}
export const adHocCommands = service<AdHocCommands>('adHocCommands')
