/** Hides secrets in stanzas that an operator is shown: passwords, tokens, and whole requests that carry them. */
import { attributeOf, childElements, localName, namespaceOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'

/** The text in the place of what is not shown. */
export const HIDDEN = '[not shown]'

/**
 * Namespaces whose content is never shown: logins, registrations, commands such as the change of a password, answers to
 * the prompt of a gateway (XEP-0100 §6.3), and the identifier that confirms an HTTP request (XEP-0070 §4.5).
 */
const SECRET: ReadonlySet<string | undefined> = new Set([
  NS.REGISTER, NS.LEGACY_AUTH, NS.COMMANDS, NS.SASL, NS.SASL2, NS.FAST, NS.INVITE_BIND, NS.INVITE_PREAUTH, NS.IBR_TOKEN,
  NS.GATEWAY, NS.HTTP_AUTH,
])

/** Attributes of such an element that say what it is about. */
const SHOWN: ReadonlySet<string> = new Set(['node', 'action', 'status', 'type', 'method'])

/** Names of elements, attributes and form fields that hold secrets: XEP-0045 §7.2.6, XEP-0048, XEP-0249, XEP-0357. */
const SECRET_NAME = new RegExp([
  'pass(word|wd|phrase|code)?$', 'pwd', 'secret', 'token', 'credential', '(^|[^a-z])(pin|otp|key)$', 'api_?key$',
  '^authorization$', '^cookie$',
].join('|'), 'i')

/** Names of form fields. */
type Fields = ReadonlySet<string>
const NO_FIELDS: Fields = new Set()

/** Returns a copy of an element in which secrets are hidden, at any depth. */
export function withoutSecrets (element: Element): Element { return redacted(element, NO_FIELDS) }

/** `secret`: the fields of the form around the element that are secret. */
function redacted (element: Element, secret: Fields): Element {
  const name = nameOf(element)
  const attributes = attributesOf(element)
  if (SECRET.has(namespaceOf(element)) || SECRET_NAME.test(name) || isSecretField(element, secret)) {
    return xml(name, attributes, HIDDEN)
  }
  const fields = isForm(element) ? privateFields(element) : secret
  // XEP-0070 §4.5: the text of such a message repeats the transaction identifier.
  const isConfirmation = childElements(element).some(child => namespaceOf(child) === NS.HTTP_AUTH)
  const isTextHidden = isPut(element)
  const nodes = element.children.map(node => {
    if (typeof node === 'string') return isTextHidden ? HIDDEN : node
    return isConfirmation && localName(node) === 'body' ? xml('body', attributesOf(node), HIDDEN) : redacted(node, fields)
  })
  return xml(name, attributes, ...nodes)
}

// Namespaces in XML §3: the namespace of the prefix xml is no default namespace.
function isOfXml (element: Element): boolean { return namespaceOf(element) === NS.XML }
function nameOf (element: Element): string { return isOfXml(element) ? `xml:${localName(element)}` : localName(element) }

function attributesOf (element: Element): Readonly<Record<string, string>> {
  const namespace = namespaceOf(element)
  const isSecret = SECRET.has(namespace)
  const attributes: Record<string, string> = namespace === undefined || isOfXml(element) ? {} : { xmlns: namespace }
  for (const attribute of Object.keys(element.attrs)) {
    const value = attributeOf(element, attribute)
    if (value === undefined || attribute === 'xmlns' || attribute.includes(':') && attribute !== 'xml:lang') continue
    if (isSecret && !SHOWN.has(attribute)) continue
    attributes[attribute] = SECRET_NAME.test(attribute) || attribute === 'url' && isPut(element) ? HIDDEN : value
  }
  return attributes
}

/** XEP-0363 §4: who knows the URL for the upload may upload; older versions have it as text. */
function isPut (element: Element): boolean {
  const namespace = namespaceOf(element)
  return localName(element) === 'put' && (namespace === NS.UPLOAD || namespace === NS.UPLOAD_LEGACY)
}

function isForm (element: Element): boolean { return localName(element) === 'x' && namespaceOf(element) === NS.DATA }

/** XEP-0004 §3.3, §3.4: the fields of a form that are of type text-private. Those of its items are described once. */
function privateFields (form: Element): Fields {
  const described = childElements(form).flatMap(part => localName(part) === 'reported' ? childElements(part) : [part])
  return new Set(described.flatMap(field => attributeOf(field, 'type') === 'text-private' ? attributeOf(field, 'var') ?? [] : []))
}

/** XEP-0004 §3.3: a field of type text-private is not shown, nor one whose name says that it is secret. */
function isSecretField (element: Element, secret: Fields): boolean {
  if (localName(element) !== 'field' && localName(element) !== 'header') return false
  const field = attributeOf(element, 'var') ?? ''
  return attributeOf(element, 'type') === 'text-private' || secret.has(field) || SECRET_NAME.test(field) ||
    SECRET_NAME.test(attributeOf(element, 'name') ?? '')
}

/** Returns the names and namespaces of the children of a stanza, for a line that shows no content. */
export function namesIn (element: Element, most: number): string {
  const children = childElements(element)
  const names = children.slice(0, most).map(child => {
    const namespace = namespaceOf(child)
    return namespace === undefined || namespace === NS.CLIENT ? localName(child) : `${localName(child)}{${namespace}}`
  })
  return [...names, ...children.length > most ? [`and ${children.length - most} more`] : []].join(' ')
}
