/** Privacy lists of one user (XEP-0016) that a file has in several `<query/>`: the lists in one, the name of the default in another. */
import { attributeOf, child, childElements, children, localName, namespaceOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'

/** Queries of one user that are looked at together. */
const MOST = 100

export class PrivacyLists<Place> {
  readonly #queries: { readonly query: Element, readonly place: Place }[] = []

  /** Keeps a query until all of the user's are there. False: it is none, one too many, or says by itself which list is the default. */
  keep (element: Element, place: Place): boolean {
    if (namespaceOf(element) !== NS.PRIVACY || localName(element) !== 'query' || this.#queries.length >= MOST || isWhole(element)) return false
    this.#queries.push({ query: element, place })
    return true
  }

  /** What all of them say, in one query, and the place of the first that has a list; undefined where there was none. */
  take (): { readonly query: Element, readonly place: Place } | undefined {
    const queries = this.#queries.splice(0)
    const [first] = queries
    if (first === undefined || queries.length === 1) return first
    const parts = queries.flatMap(({ query }) => childElements(query)).filter(isPrivacy)
    const place = (queries.find(({ query }) => childElements(query).some(part => localName(part) === 'list')) ?? first).place
    return { query: xml('query', { xmlns: NS.PRIVACY }, ...parts.map(copyOf)), place }
  }
}

/** Whether the list that is in force stands beside what names it. */
function isWhole (query: Element): boolean {
  const chosen = child(query, NS.PRIVACY, 'default') ?? child(query, NS.PRIVACY, 'active')
  const name = chosen === undefined ? undefined : attributeOf(chosen, 'name')
  return name !== undefined && children(query, NS.PRIVACY, 'list').some(list => attributeOf(list, 'name') === name)
}

function isPrivacy (element: Element): boolean { return namespaceOf(element) === NS.PRIVACY }

const ATTRIBUTES = ['name', 'type', 'value', 'action', 'order'] as const

/** The element with what XEP-0016 knows, free of the prefixes of where it stood. */
function copyOf (element: Element): Element {
  const attributes = ATTRIBUTES.map(name => [name, attributeOf(element, name)] as const)
  return xml(localName(element), Object.fromEntries(attributes), ...childElements(element).map(copyOf))
}
