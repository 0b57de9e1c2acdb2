/** The error of a module that cannot be set up, for the operator. */
import { moduleStackOf } from './module-stack.js'
import type { AnyModule } from './module.js'

/** A module's `setup` has thrown. The message has the module's name, and the lines of its own code in the stack. */
export class SetupError extends Error {
  override readonly name = 'SetupError'
  readonly module: AnyModule

  /** `advice` is a line below the message: what to do. */
  constructor (module: AnyModule, cause: unknown, advice?: string) {
    const stack = moduleStackOf(cause, /^\s+at (?:async )?Setup\.(?:prepare|install) /)
    super([`module '${module.name}' cannot be set up: ${stack}`, ...advice === undefined ? [] : [advice]].join('\n'), { cause })
    this.module = module
  }
}
