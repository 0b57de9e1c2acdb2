/** Templates: elements that are written once and filled many times, such as what wraps each result of an archive. */
import { StoredElement, type Element } from './element.js'
import { declareContent, escapeAttribute, octets } from './writer.js'

/** The value of an attribute that `Template.fill` fills. No other text of a template has it. */
export const HOLE = '(to be filled)'
/** The name of the child element of a template that is replaced by a stored stanza. */
const STORED = 'stored'

/** The child element that `Template.fill` replaces by a stored stanza. */
export function storedHole (): Element { return new StoredElement(STORED, '', HOLE) }

/**
 * An element that is written once. Each attribute with the value `HOLE`, and a child made by `storedHole`, are filled
 * later.
 */
export class Template {
  readonly #name: string
  readonly #namespace: string
  readonly #pieces: readonly string[]

  /** `namespace`: of the element, which is not a content namespace. Throws TypeError as the writer does. */
  constructor (element: Element, namespace: string) {
    this.#name = element.name
    this.#namespace = namespace
    this.#pieces = octets(element).split(HOLE)
  }

  /**
   * Returns the element with its attributes filled by these values, in the order in which they are written. `stored` is
   * a stored stanza of this name, which follows them. Throws TypeError if a value has a character that XML cannot
   * carry.
   */
  fill (values: readonly string[], name: string, stored: string): StoredElement {
    const pieces = this.#pieces
    const count = values.length
    if (count !== pieces.length - 2) throw new TypeError('the template has another number of holes')
    let text = ''
    for (let i = 0; i < count; i++) text += `${pieces[i] ?? ''}${escapeAttribute(values[i] ?? '')}`
    return new StoredElement(this.#name, this.#namespace, `${text}${pieces[count] ?? ''}${declareContent(name, stored)}${pieces[count + 1] ?? ''}`)
  }
}
