/** The dialback requests on a stream that we opened, and the peer's answers (XEP-0220 §2.1, §2.2). */
import type { Clock, Timer } from '../../base/clock.js'
import { attributeOf, type Element, type ParsedElement } from '../../xml/element.js'
import { addressesOf, conditionIn, dialbackElement, isDialback } from './dialback.js'
import { pairKey } from '../ground/domain-pair.js'
import { LinkError } from '../ground/link-error.js'

interface Question<T> {
  readonly resolve: (answer: T) => void
  readonly reject: (error: Error) => void
  readonly timer: Timer
}

/** The most requests of each kind on one stream at a time. */
const MOST = 64
/** How long a peer may take to answer, in milliseconds. */
const CHECK_TIMEOUT = 30_000

export class Questions {
  readonly #clock: Clock
  readonly #say: (element: Element) => void
  readonly #proven: (local: string, remote: string) => void
  readonly #claims = new Map<string, Question<void>>()
  readonly #keys = new Map<string, Question<boolean>>()

  /** `proven`: called when the peer accepts that we speak for `local`, before the next element is read. */
  constructor (clock: Clock, say: (element: Element) => void, proven: (local: string, remote: string) => void) {
    this.#clock = clock
    this.#say = say
    this.#proven = proven
  }

  /**
   * Claims that we speak for `local`; the peer asks the domain's own server whether the key is right (§2.1.1). Rejects
   * with LinkError.
   */
  claim (local: string, remote: string, key: string): Promise<void> {
    return this.#ask(this.#claims, pairKey(local, remote), 'it does not answer dialback', () => {
      this.#say(dialbackElement('result', { from: local, to: remote }, key))
    })
  }

  /** Asks whether a key that `local` was shown comes from `remote` (§2.2.1). Rejects with LinkError. */
  verify (local: string, remote: string, id: string, key: string): Promise<boolean> {
    return this.#ask(this.#keys, `${pairKey(local, remote)} ${id}`, 'it does not say whether the key is right', () => {
      this.#say(dialbackElement('verify', { from: local, to: remote, id }, key))
    })
  }

  /** Handles an answer. An answer without a request is ignored (§2.1.2). */
  answered (element: ParsedElement): void {
    const addresses = addressesOf(element)
    const type = attributeOf(element, 'type')
    if (addresses === undefined || type === undefined) return
    const { from: remote, to: local } = addresses
    if (isDialback(element, 'result')) this.#claimed(local, remote, type, conditionIn(element))
    else this.#verified(`${pairKey(local, remote)} ${attributeOf(element, 'id') ?? ''}`, type, conditionIn(element))
  }

  /** Rejects all open requests, because the stream is over. */
  end (error: Error): void {
    const open = [...this.#claims.values(), ...this.#keys.values()]
    this.#claims.clear()
    this.#keys.clear()
    for (const { timer, reject } of open) {
      timer.cancel()
      reject(error)
    }
  }

  #ask<T> (under: Map<string, Question<T>>, name: string, silence: string, say: () => void): Promise<T> {
    if (under.has(name) || under.size >= MOST) {
      return Promise.reject(new LinkError('resource-constraint', 'too many dialback requests', { fault: 'us' }))
    }
    return new Promise<T>((resolve, reject) => {
      const timer = this.#clock.after(CHECK_TIMEOUT, () => {
        under.delete(name)
        reject(new LinkError('remote-server-timeout', silence, { isPassing: true }))
      })
      under.set(name, { resolve, reject, timer })
      say()
    })
  }

  #claimed (local: string, remote: string, type: string, condition: string): void {
    const question = taken(this.#claims, pairKey(local, remote))
    if (question === undefined) return
    if (type === 'valid') {
      this.#proven(local, remote)
      question.resolve()
    } else if (type === 'error') {
      const isPassing = condition === 'remote-server-timeout'
      question.reject(new LinkError('remote-server-not-found', `it refused dialback: ${condition}`, { isPassing }))
    } else question.reject(new LinkError('remote-server-not-found', 'it rejected our dialback key'))
  }

  #verified (name: string, type: string, condition: string): void {
    const question = taken(this.#keys, name)
    const failed = (): LinkError => new LinkError('remote-server-not-found', `it cannot check the key: ${condition}`)
    if (type === 'error') question?.reject(failed())
    else question?.resolve(type === 'valid')
  }
}

function taken<T> (under: Map<string, Question<T>>, name: string): Question<T> | undefined {
  const question = under.get(name)
  under.delete(name)
  question?.timer.cancel()
  return question
}
