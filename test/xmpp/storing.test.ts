/** The rules of docs/delivery.md, which store keeps which message, as a table. */
import t from 'tap'
import { isLasting } from '../../lib/host/lasting.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { addressed, Stanza, type Message } from '../../lib/xmpp/stanza.js'
import { storingOf } from '../../lib/xmpp/storing.js'
import { isWorthArchiving } from '../../modules/mam/worth.js'
import { isWorthKeeping } from '../../modules/offline/worth.js'
import { parseElement } from '../parse.js'

function messageOf (content: string, type = 'chat'): Message {
  const element = parseElement(`<message xmlns='jabber:client' type='${type}'>${content}</message>`)
  const juliet = parseJid('juliet@capulet.lit')
  return addressed(new Stanza('message', element, parseJid('romeo@montague.lit'), juliet), juliet)
}

const hint = (name: string): string => `<${name} xmlns='urn:xmpp:hints'/>`
const COMPOSING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
const EVENT = "<event xmlns='http://jabber.org/protocol/pubsub#event'/>"
const COPY = "<received xmlns='urn:xmpp:carbons:2'/>"
const RESULT = "<result xmlns='urn:xmpp:mam:2'/>"

type Row = readonly [content: string, holds: string, archive: boolean, offline: boolean, lasting: boolean]

/** The content, its kind, and whether it is archived, kept for a later device, and kept until acknowledged. */
const ROWS: readonly Row[] = [
  ['', 'nothing', false, false, false],
  ['<thread>t</thread>', 'nothing', false, false, false],
  [COMPOSING, 'nothing', false, false, false],
  ["<delay xmlns='urn:xmpp:delay' stamp='x'/><x xmlns='jabber:x:delay'/>", 'nothing', false, false, false],
  ["<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='capulet.lit'/>", 'nothing', false, false, false],
  ["<private xmlns='urn:xmpp:carbons:2'/>", 'nothing', false, false, false],
  [EVENT, 'event', false, true, true],
  [COPY, 'event', false, true, true],
  [EVENT + '<body>x</body>', 'content', true, true, true],
  ['<body>x</body>' + EVENT, 'content', true, true, true],
  ['<subject>x</subject>', 'content', true, true, true],
  ["<received xmlns='urn:xmpp:receipts' id='1'/>", 'content', true, true, true],
  ["<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", 'content', true, true, true],
  ["<encrypted xmlns='eu.siacs.conversations.axolotl'/>", 'content', true, true, true],
  [COMPOSING + hint('store'), 'nothing', true, true, false],
  ['<body>x</body>' + hint('no-store'), 'content', false, false, false],
  ['<body>x</body>' + hint('no-store') + hint('store'), 'content', false, false, false],
  ['<body>x</body>' + hint('no-permanent-store'), 'content', false, true, true],
  ['<body>x</body>' + hint('no-copy'), 'content', true, true, true],
  [RESULT, 'content', false, false, true],
  [RESULT + hint('store'), 'content', false, false, true],
]

t.test('each store keeps what its rule says', t => {
  for (const [content, holds, archive, offline, lasting] of ROWS) {
    const message = messageOf(content)
    t.same([storingOf(message).holds, isWorthArchiving(message), isWorthKeeping(message), isLasting(message)],
      [holds, archive, offline, lasting], content)
  }
  t.end()
})

t.test('the type decides, too', t => {
  const body = '<body>x</body>'
  for (const [type, archive, offline, lasting] of [
    ['normal', true, true, true], ['headline', false, false, true], ['groupchat', false, false, true],
    ['error', false, false, true],
  ] as const) {
    const message = messageOf(body + hint('store'), type)
    t.same([isWorthArchiving(message), isWorthKeeping(message), isLasting(message)], [archive, offline, lasting], type)
  }
  t.equal(isWorthKeeping(messageOf(COMPOSING, 'normal')), true, 'XEP-0160 §3: any message of type normal is stored')
  const element = parseElement("<presence xmlns='jabber:client'><status>x</status></presence>")
  t.equal(isLasting(new Stanza('presence', element, parseJid('a@b.lit'), undefined)), false)
  t.end()
})
