/** Lists of nodes by the types of their payloads (XEP-0462). */
import { child, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError } from '../xmpp/errors.js'
import { DataForm, field, formIn } from '../xmpp/form.js'
import type { Node } from './node.js'

const INCLUDED = field.texts('included-types', { label: 'The only types that are listed' })
const EXCLUDED = field.texts('excluded-types', { label: 'The types that are not listed' })
const FORM = new DataForm(NS.PUBSUB_FILTER, [INCLUDED, EXCLUDED])

/**
 * Returns whether a query for the nodes of a service wants a node; an empty type means nodes without a type. Throws
 * StanzaError if the filter has no form, or both lists (§3.2).
 */
export function typeFilter (query: Element): (node: Node) => boolean {
  const filter = child(query, NS.PUBSUB_FILTER, 'filter')
  if (filter === undefined) return () => true
  const form = formIn(filter)
  if (form === undefined) throw new StanzaError('bad-request', 'the form of the filter is missing')
  const answers = FORM.read(form)
  const included = answers.get(INCLUDED)
  const excluded = answers.get(EXCLUDED)
  if (included !== undefined && excluded !== undefined) {
    throw new StanzaError('bad-request', 'types are either included or excluded')
  }
  const types = new Set(included ?? excluded ?? [])
  if (included !== undefined) return ({ config }) => types.has(config.type)
  return ({ config }) => !types.has(config.type)
}
