/** Lets a negotiation be written as one function that awaits each element of the peer with `next ()`. */
import type { Maybe } from '../../base/maybe.js'
import type { StreamHeader } from '../../stream/header.js'
import type { ParsedElement } from '../../xml/element.js'

interface Waiting<T> { readonly resolve: (value: T) => void, readonly reject: (error: Error) => void }

export class Dialogue {
  #header: StreamHeader | undefined
  #element: ParsedElement | undefined
  #awaitsHeader: Waiting<StreamHeader> | undefined
  #awaits: Waiting<ParsedElement> | undefined
  #turn: (() => void) | undefined
  #end: Error | undefined

  /** True if `next` waits for an element, or an element waits for `next`. */
  get isBusy (): boolean { return this.#awaits !== undefined || this.#element !== undefined }

  header (): Promise<StreamHeader> {
    this.#endTurn()
    const header = this.#header
    this.#header = undefined
    if (header !== undefined) return Promise.resolve(header)
    if (this.#end !== undefined) return Promise.reject(this.#end)
    return new Promise((resolve, reject) => { this.#awaitsHeader = { resolve, reject } })
  }

  next (): Promise<ParsedElement> {
    const element = this.#element
    if (element !== undefined) {
      this.#element = undefined
      return Promise.resolve(element)
    }
    this.#endTurn()
    if (this.#end !== undefined) return Promise.reject(this.#end)
    return new Promise((resolve, reject) => { this.#awaits = { resolve, reject } })
  }

  opened (header: StreamHeader): void {
    const awaits = this.#awaitsHeader
    this.#awaitsHeader = undefined
    if (awaits === undefined) this.#header = header
    else awaits.resolve(header)
  }

  /** Takes an element. Reading pauses until the next element is awaited or `rest` is called. */
  receive (element: ParsedElement): Maybe<void> {
    const awaits = this.#awaits
    this.#awaits = undefined
    if (awaits === undefined) this.#element = element
    else awaits.resolve(element)
    return new Promise(resolve => { this.#turn = resolve })
  }

  /** Lets reading go on without awaiting the next element. */
  rest (): void { this.#endTurn() }

  /** Drops a header and an element that came before TLS and were not looked at. */
  forget (): void {
    this.#header = undefined
    this.#element = undefined
    this.#endTurn()
  }

  end (error: Error): void {
    this.#end = error
    this.#awaitsHeader?.reject(error)
    this.#awaits?.reject(error)
    this.#awaitsHeader = this.#awaits = undefined
    this.forget()
  }

  #endTurn (): void {
    const turn = this.#turn
    this.#turn = undefined
    turn?.()
  }
}
