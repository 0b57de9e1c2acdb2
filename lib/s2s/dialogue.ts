/** A negotiation told as a story: `await next ()`, one element of the peer's after the other. */
import type { Maybe } from '../base/maybe.js'
import type { StreamHeader } from '../stream/header.js'
import type { ParsedElement } from '../xml/element.js'

interface Waiting<T> { readonly resolve: (value: T) => void, readonly reject: (error: Error) => void }

export class Dialogue {
  #header: StreamHeader | undefined
  #element: ParsedElement | undefined
  #awaitsHeader: Waiting<StreamHeader> | undefined
  #awaits: Waiting<ParsedElement> | undefined
  #turn: (() => void) | undefined
  #end: Error | undefined

  /** Somebody waits for an element, or the one that came waits for somebody. */
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

  /** Takes an element. Nothing more is read until somebody asks for more, or says `rest`. */
  receive (element: ParsedElement): Maybe<void> {
    const awaits = this.#awaits
    this.#awaits = undefined
    if (awaits === undefined) this.#element = element
    else awaits.resolve(element)
    return new Promise(resolve => { this.#turn = resolve })
  }

  /** This part of the story is told: what comes now is not for it. */
  rest (): void { this.#endTurn() }

  /** Forgets what came and was not looked at: it was said before TLS. */
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
