/** The recipients of directed presence are found by their bare address. */
import t from 'tap'
import { DirectedRecipients } from '../../modules/presence/directed-recipients.js'
import { parseJid } from '../../lib/xmpp/jid.js'

t.test('recipients are found by their bare address, and counted, however they come and go', t => {
  const told = DirectedRecipients.of(['room@verona.lit/romeo', 'room@verona.lit/nick', 'nurse@capulet.lit'])
  const at = (address: string): string[] => told.at(parseJid(address)).map(String)
  t.same(at('room@verona.lit'), ['room@verona.lit/romeo', 'room@verona.lit/nick'])
  t.same(at('nurse@capulet.lit'), ['nurse@capulet.lit'])
  t.same(at('verona.lit'), [])
  told.set('nurse@capulet.lit', parseJid('nurse@capulet.lit'))
  t.same(at('nurse@capulet.lit'), ['nurse@capulet.lit'], 'once')
  t.equal(told.bytes, [...told.keys()].join('').length)
  t.equal(told.delete('room@verona.lit/romeo'), true)
  t.equal(told.delete('room@verona.lit/romeo'), false)
  t.same(at('room@verona.lit'), ['room@verona.lit/nick'])
  for (const key of told.keys()) told.delete(key)
  t.same([at('room@verona.lit'), at('nurse@capulet.lit'), told.bytes, told.size], [[], [], 0, 0])
  told.set('a@b.lit/c', parseJid('a@b.lit/c')).clear()
  t.same([at('a@b.lit'), told.bytes, told.size], [[], 0, 0])
  t.end()
})

t.test('no other recipient is looked at', t => {
  const told = DirectedRecipients.of(Array.from({ length: 1000 }, (_, n) => `contact${n}@verona.lit`))
  told[Symbol.iterator] = told.values = told.keys = told.entries = told.forEach = () => { throw new Error('a walk') }
  t.equal(told.at(parseJid('contact7@verona.lit')).length, 1)
  told.set('contact8@verona.lit', parseJid('contact8@verona.lit'))
  t.equal(told.delete('contact9@verona.lit'), true)
  t.end()
})
