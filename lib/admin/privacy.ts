/**
 * Joins the privacy lists of one user (XEP-0016). A file may have them in several `<query/>`: the lists in one, the
 * name of the default list in another.
 */
import { attributeOf, child, childElements, children, localName, namespaceOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'

/** The most queries of one user that are joined. */
const MOST = 100

export class PrivacyLists<Place> {
  readonly #queries: { readonly query: Element, readonly place: Place }[] = []

  /**
   * Keeps a query until all queries of the user are there. Returns false, and keeps nothing, if the element is not such
   * a query, if there are too many, or if the query also holds its default list and needs no other.
   */
  keep (element: Element, place: Place): boolean {
    if (namespaceOf(element) !== NS.PRIVACY || localName(element) !== 'query' || this.#queries.length >= MOST || isWhole(element)) return false
    this.#queries.push({ query: element, place })
    return true
  }

  /** Returns the kept queries as one, with the place of the first that has a list; undefined if there are none. */
  take (): { readonly query: Element, readonly place: Place } | undefined {
    const queries = this.#queries.splice(0)
    const [first] = queries
    if (first === undefined || queries.length === 1) return first
    const parts = queries.flatMap(({ query }) => childElements(query)).filter(isPrivacy)
    const place = (queries.find(({ query }) => childElements(query).some(part => localName(part) === 'list')) ?? first).place
    return { query: xml('query', { xmlns: NS.PRIVACY }, ...parts.map(copyOf)), place }
  }
}

/** True if the query also holds the list that it names as default or active. */
function isWhole (query: Element): boolean {
  const chosen = child(query, NS.PRIVACY, 'default') ?? child(query, NS.PRIVACY, 'active')
  const name = chosen === undefined ? undefined : attributeOf(chosen, 'name')
  return name !== undefined && children(query, NS.PRIVACY, 'list').some(list => attributeOf(list, 'name') === name)
}

function isPrivacy (element: Element): boolean { return namespaceOf(element) === NS.PRIVACY }

const ATTRIBUTES = ['name', 'type', 'value', 'action', 'order'] as const

/** Copies the parts that XEP-0016 defines, without the namespace prefixes of the file. */
function copyOf (element: Element): Element {
  const attributes = ATTRIBUTES.map(name => [name, attributeOf(element, name)] as const)
  return xml(localName(element), Object.fromEntries(attributes), ...childElements(element).map(copyOf))
}
