/**
 * Pages that are generated from the code: the conf file's reference, its JSON Schema, and the README's table of XEPs.
 */
import { configReference, jsonSchema } from '../lib/config/reference.js'
import type { Schema } from '../lib/config/schema.js'

/** The parts of a module that the documentation describes. */
export interface Documented {
  readonly name: string
  readonly xeps?: readonly string[]
  readonly settings?: Schema
  readonly isOff?: boolean
}

/** The specifications that the core implements without a module: 'number vVersion', or an RFC. */
export const CORE: readonly string[] = [
  'RFC 6120', 'RFC 6121', 'RFC 7395', 'RFC 7622', '0124 v1.11.2', '0156 v1.4.0', '0178 v1.2', '0185 v1.0', '0206 v1.4', '0220 v1.1.1', '0288 v1.0.1', '0359 v0.7.0', '0368 v1.1.0', '0386 v1.1.0', '0388 v1.0.4', '0440 v1.0.0',
  '0474 v0.5.0', '0478 v0.2.0', '0480 v0.2.0', '0484 v0.2.0', '0495 v0.1.0', '0509 v0.2.0',
]

/** The titles of the specifications. `xepTable` throws for a specification that is not here. */
const TITLES: Readonly<Record<string, string>> = {
  'RFC 6120': 'XMPP: Core',
  'RFC 6121': 'XMPP: Instant Messaging and Presence',
  'RFC 7395': 'An XMPP Subprotocol for WebSocket',
  'RFC 7622': 'XMPP: Address Format',
  '0012': 'Last Activity',
  '0030': 'Service Discovery',
  '0045': 'Multi-User Chat',
  '0048': 'Bookmarks',
  '0049': 'Private XML Storage',
  '0050': 'Ad-Hoc Commands',
  '0054': 'vcard-temp',
  '0060': 'Publish-Subscribe',
  '0077': 'In-Band Registration',
  '0084': 'User Avatar',
  '0092': 'Software Version',
  '0114': 'Jabber Component Protocol',
  '0115': 'Entity Capabilities',
  '0124': 'Bidirectional-streams Over Synchronous HTTP (BOSH)',
  '0128': 'Service Discovery Extensions',
  '0131': 'Stanza Headers and Internet Metadata',
  '0153': 'vCard-Based Avatars',
  '0156': 'Discovering Alternative XMPP Connection Methods',
  '0157': 'Contact Addresses for XMPP Services',
  '0160': 'Best Practices for Handling Offline Messages',
  '0163': 'Personal Eventing Protocol',
  '0178': 'Best Practices for Use of SASL EXTERNAL with Certificates',
  '0185': 'Dialback Key Generation and Validation',
  '0191': 'Blocking Command',
  '0198': 'Stream Management',
  '0199': 'XMPP Ping',
  '0202': 'Entity Time',
  '0203': 'Delayed Delivery',
  '0205': 'Best Practices to Discourage Denial of Service Attacks',
  '0206': 'XMPP Over BOSH',
  '0215': 'External Service Discovery',
  '0220': 'Server Dialback',
  '0222': 'Persistent Storage of Public Data via PubSub',
  '0223': 'Persistent Storage of Private Data via PubSub',
  '0237': 'Roster Versioning',
  '0248': 'PubSub Collection Nodes',
  '0280': 'Message Carbons',
  '0288': 'Bidirectional Server-to-Server Connections',
  '0292': 'vCard4 Over XMPP',
  '0313': 'Message Archive Management',
  '0317': 'Hats',
  '0334': 'Message Processing Hints',
  '0352': 'Client State Indication',
  '0357': 'Push Notifications',
  '0359': 'Unique and Stable Stanza IDs',
  '0363': 'HTTP File Upload',
  '0368': 'SRV records for XMPP over TLS',
  '0376': 'Pubsub Account Management',
  '0377': 'Blocking Command Reports',
  '0386': 'Bind 2',
  '0388': 'Extensible SASL Profile',
  '0398': 'User Avatar to vCard-Based Avatars Conversion',
  '0402': 'PEP Native Bookmarks',
  '0410': 'MUC Self-Ping',
  '0411': 'Bookmarks Conversion',
  '0421': 'Occupant Identifiers for Semi-Anonymous MUCs',
  '0424': 'Message Retraction',
  '0425': 'Moderated Message Retraction',
  '0431': 'Full Text Search in MAM',
  '0440': 'SASL Channel-Binding Type Capability',
  '0441': 'Message Archive Management Preferences',
  '0442': 'Pubsub Message Archive Management',
  '0452': 'MUC Mention Notifications',
  '0460': 'Pubsub Caching Hints',
  '0462': 'PubSub Type Filtering',
  '0463': 'MUC Affiliations Versioning',
  '0465': 'Pubsub Public Subscriptions',
  '0470': 'Pubsub Attachments',
  '0474': 'SASL SCRAM Downgrade Protection',
  '0478': 'Stream Limits Advertisement',
  '0480': 'SASL Upgrade Tasks',
  '0484': 'Fast Authentication Streamlining Tokens',
  '0485': 'PubSub Server Information',
  '0486': 'MUC Avatars',
  '0488': 'MUC Token Invite',
  '0490': 'Message Displayed Synchronization',
  '0492': 'Chat Notification Settings',
  '0494': 'Client Access Management',
  '0495': 'Happy Eyeballs',
  '0500': 'MUC Slow Mode',
  '0509': 'Initial Authentication Pipelining',
}

/** The markers around the table in README.md. */
const BEGIN = '<!-- specifications: written by npm run docs -->'
const END = '<!-- end of specifications -->'

/** Returns the text of docs/configuration.md. */
export function configurationPage (modules: ReadonlyMap<string, Documented>): string {
  return `# The conf file

This page is written by \`npm run docs\` from the schemas that the server checks the file with.
The file is [TOML](https://toml.io). Durations, sizes and rates are written in quotes, with a unit: \`"30s"\`, \`"12h"\`, \`"7d"\`, \`"1y"\`;
\`"500B"\`, \`"256KiB"\`, \`"10MiB"\`; \`"20KiB/s"\`. Relative paths start at the conf file's folder.
A secret is never in the file itself: write \`{ file = "…" }\` or \`{ env = "…" }\`.
All mistakes are reported at once, each with its file, line and column.

${configReference(modules)}`
}

/** Returns the text of conf/sestina.schema.json. */
export function schemaFile (modules: ReadonlyMap<string, Documented>): string {
  return JSON.stringify(jsonSchema(modules), null, 2) + '\n'
}

/** Returns the README with a new table. Throws if the markers are missing. */
export function withTable (readme: string, modules: ReadonlyMap<string, Documented>): string {
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)]
  if (begin < 0 || end < begin) throw new Error(`README.md has no ${BEGIN} … ${END}`)
  return `${readme.slice(0, begin)}${BEGIN}\n${xepTable(modules)}\n${readme.slice(end)}`
}

/** Returns the table with a row for each specification: first the RFCs, then the XEPs by number. */
function xepTable (modules: ReadonlyMap<string, Documented>): string {
  const rows = [
    ...CORE.map(text => rowOf(text, 'core')),
    ...[...modules.values()].flatMap(({ name, xeps = [] }) => xeps.map(text => rowOf(text, `\`${name}\``))),
  ]
  rows.sort((a, b) => a.order < b.order ? -1 : 1)
  return ['| specification | version | title | module |', '|---|---|---|---|', ...rows.map(row => row.line)].join('\n')
}

function rowOf (text: string, where: string): { readonly order: string, readonly line: string } {
  const match = /^(?:(RFC \d{4})|(\d{4}) v(\d[\d.]*))$/.exec(text)
  if (match === null) throw new Error(`'${text}' is not a specification: write '0280 v1.0.1'`)
  const [, rfc, xep = '', version = ''] = match
  const title = TITLES[rfc ?? xep]
  if (title === undefined) throw new Error(`XEP-${xep} has no title in bin/pages.ts`)
  const link = rfc === undefined
    ? `[XEP-${xep}](https://xmpp.org/extensions/xep-${xep}.html)`
    : `[${rfc}](https://www.rfc-editor.org/rfc/rfc${rfc.slice(4)})`
  return { order: rfc ?? `XEP-${xep} ${where}`, line: `| ${link} | ${version} | ${title} | ${where} |` }
}
