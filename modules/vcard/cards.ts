/** The stored vCards of all accounts, and whose picture is shown. */
import { CheckedTexts, fromOctets, octets, parseElement, StanzaError, toOctets } from '../../lib/api.js'
import type { Batch, Element, Jid, Records } from '../../lib/api.js'

/** A format of vCards: its element. */
export interface Form { readonly name: string, readonly namespace: string }

/** The key of a picture's record: who set it, a space, and its hash. vCards are under the names of their elements. */
const PHOTO = 'photo'

/** The picture of an account: the SHA-1 of its data, and whether it came with a vCard or by XEP-0084. '': none. */
export interface Shown { readonly by: 'vcard' | 'pep', readonly hash: string }

export class Cards {
  readonly #store: Records<string>
  readonly #most: number
  readonly #texts = new CheckedTexts()

  /** `most`: the most bytes of a vCard. */
  constructor (store: Records<string>, most: number) {
    this.#store = store
    this.#most = most
  }

  /** Returns the stored vCard, to be sent. An unreadable vCard is put aside, and the result is undefined. */
  async of (account: Jid, { name, namespace }: Form): Promise<Element | undefined> {
    return await this.#read(account, name, text => this.#texts.element(name, namespace, text))
  }

  /** Returns the stored vCard, to be read. As `of`. */
  async parsed (account: Jid, { name }: Form): Promise<Element | undefined> {
    return await this.#read(account, name, text => parseElement(toOctets(text)))
  }

  async #read (account: Jid, name: string, read: (text: string) => Element): Promise<Element | undefined> {
    const kept = await this.#store.get(account.toString(), name)
    try {
      return kept === undefined ? undefined : read(kept)
    } catch (error) {
      await this.#store.setAside(account.toString(), name, kept ?? '', error)
      return undefined
    }
  }

  /** True if the vCard is not too large. */
  fits (card: Element): boolean { return Buffer.byteLength(fromOctets(octets(card))) <= this.#most }

  /** Stores a vCard with the batch. Throws StanzaError if it is too large. */
  keep (account: Jid, name: string, card: Element, batch: Batch): void {
    this.check(card)
    batch.add(this.#store.putting(account.toString(), name, fromOctets(octets(card))))
  }

  /** Throws StanzaError if a vCard is too large. */
  check (card: Element): void {
    if (!this.fits(card)) throw new StanzaError('resource-constraint', 'the vCard is too large', { type: 'cancel' })
  }

  /** Removes a stored vCard with the batch. */
  drop (account: Jid, name: string, batch: Batch): void {
    batch.add(this.#store.putting(account.toString(), name, undefined))
  }

  /** Returns which picture is shown, as it was noted; undefined if nothing was. */
  async shown (account: Jid): Promise<Shown | undefined> {
    const [by, hash] = (await this.#store.get(account.toString(), PHOTO))?.split(' ') ?? []
    return (by === 'vcard' || by === 'pep') && hash !== undefined ? { by, hash } : undefined
  }

  /** Notes which picture is shown. */
  show (account: Jid, { by, hash }: Shown, batch: Batch): void {
    batch.add(this.#store.putting(account.toString(), PHOTO, `${by} ${hash}`))
  }
}
