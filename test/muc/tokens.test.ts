/** XEP-0488: tokens that make members. */
import t from 'tap'
import { textOf, type Element } from '../../lib/xml/element.js'
import type { Device } from '../scenario.js'
import { conditionOf } from '../stanzas.js'
import { asking, changing, codesIn, configuring, entering, guest, hall, HALL, itemIn, SCENE, stage, told } from './stage.js'

const TOKENS = "xmlns='urn:xmpp:muc-token-invite:0'"
const request = (more = ''): string => asking(`<request ${TOKENS}${more}/>`)
const revoke = (token: string): string => asking(`<revoke ${TOKENS}>${token}</revoke>`)
const withPassword = (text: string): string => `<password>${text}</password>`
const tokensOf = (answer: Element): readonly (readonly [string, unknown, unknown])[] =>
  (answer.getChild('tokens')?.getChildren('token') ?? []).map(one => [textOf(one), one.attrs['counter'], one.attrs['delay']])
const listed = async (device: Device): Promise<ReturnType<typeof tokensOf>> => tokensOf(await device.asks(asking(`<tokens ${TOKENS}/>`, 'get')))

async function made (device: Device, more = ''): Promise<string> {
  const token = (await device.asks(request(more))).getChild('token', 'urn:xmpp:muc-token-invite:0')
  if (token === undefined) throw new Error('no token')
  return textOf(token)
}

t.test('§4 a token lets a stranger into a members-only room, makes a member, and all are told', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { membersonly: '1', persistentroom: '1' })
  const answer = await juliet.asks(request())
  t.match(answer.getChild('token')?.attrs, { delay: '604800' }, 'a week unless the request says it')
  const token = await made(juliet)
  t.match(token, /^[\w-]{32}$/)
  const romeo = await s.device('romeo@montague.lit/orchard')
  await romeo.says(entering('romeo'))
  t.equal(conditionOf(romeo.unread.at(-1)), 'registration-required')
  juliet.forget()
  romeo.forget()
  await romeo.says(entering('romeo', withPassword(token)))
  t.ok(romeo.unread.some(one => codesIn(one).includes('110') && itemIn(one)['affiliation'] === 'member'))
  t.same(told(juliet.unread), ['romeo member/participant'])
  await romeo.says(`<presence to='${HALL}/romeo' type='unavailable'/>`)
  t.equal((await juliet.asks(revoke(token))).attrs['type'], 'result')
  romeo.forget()
  await romeo.says(entering('romeo', withPassword(token)))
  t.ok(romeo.unread.some(one => codesIn(one).includes('110')), 'a member needs no token any more')

  await s.end()
  const next = await stage(t, { ...SCENE, storage: s.storage, ids: 'next' })
  const again = await next.device('juliet@capulet.lit/balcony')
  t.equal((await listed(again)).length, 1, 'tokens outlive a restart')
})

t.test('§4.2 a token is good as often and as long as its maker says, within the bounds of the server', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { membersonly: '1' })
  t.match((await juliet.asks(request(" delay='99999999' counter='5000'"))).getChild('token')?.attrs, { delay: '2678400', counter: '1000' })
  const twice = await made(juliet, " counter='2' delay='3600'")
  const enters = async (who: string, token: string): Promise<string | undefined> => {
    const device = await s.device(who)
    await device.says(entering(who.slice(0, who.indexOf('@')), withPassword(token)))
    return conditionOf(device.unread.at(-1))
  }
  t.equal(await enters('romeo@montague.lit/orchard', twice), undefined)
  t.equal(await enters('romeo@montague.lit/street', twice), undefined)
  t.strictSame((await listed(juliet)).find(([text]) => text === twice), [twice, '1', '3600'], 'a member uses up nothing')
  t.equal(await enters('nurse@capulet.lit/room', twice), undefined)
  const benvolio = await s.device('benvolio@montague.lit/street')
  await benvolio.says(entering('benvolio', withPassword(twice)))
  t.equal(conditionOf(benvolio.unread.at(-1)), 'not-authorized')
  t.ok(benvolio.unread.at(-1)?.getChild('error')?.getChild('expired-token', 'urn:xmpp:muc-token-invite:0'))
  const short = await made(juliet, " delay='60'")
  await s.pass('60s')
  t.equal(await enters('peter@montague.lit/street', short), 'not-authorized')
  t.notOk((await listed(juliet)).some(([text]) => text === short))
  for (const wrong of [" delay='-1'", " counter='many'"]) t.equal(conditionOf(await juliet.asks(request(wrong))), 'bad-request')
  for (const none of [" delay='0'", " counter='0'"]) t.equal(conditionOf(await juliet.asks(request(none))), 'not-acceptable')
})

t.test('§4.4, §4.5 who may invite makes tokens and revokes their own, admins and moderators revoke all', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { membersonly: '1' })
  await juliet.asks(changing("<item affiliation='member' jid='romeo@montague.lit'/>", "<item affiliation='member' jid='nurse@capulet.lit'/>"))
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const stranger = await s.device('benvolio@montague.lit/street')
  for (const one of [request(), asking(`<tokens ${TOKENS}/>`, 'get'), revoke('any')]) {
    t.equal(conditionOf(await romeo.asks(one)), 'forbidden', one)
    t.equal(conditionOf(await stranger.asks(one)), 'forbidden', one)
  }
  await juliet.asks(configuring({ allowinvites: '1' }))
  const nurse = await guest(s, 'nurse@capulet.lit/room')
  const [his, hers] = [await made(romeo), await made(nurse)]
  t.same((await listed(romeo)).map(([text]) => text), [his])
  t.same((await listed(juliet)).map(([text]) => text), [his, hers])
  t.equal(conditionOf(await romeo.asks(revoke(hers))), 'item-not-found')
  t.equal(conditionOf(await romeo.asks(revoke('unknown'))), 'item-not-found')
  t.equal((await romeo.asks(revoke(his))).attrs['type'], 'result')
  t.equal((await juliet.asks(revoke(hers))).attrs['type'], 'result')
  for (let n = 0; n < 20; n++) await made(romeo)
  t.equal(conditionOf(await romeo.asks(request())), 'resource-constraint')
  await juliet.asks(changing(...Array.from({ length: 10 }, (_, n) => `<item affiliation='member' jid='guest${n}@montague.lit'/>`)))
  for (let n = 0; n < 9; n++) {
    const one = await guest(s, `guest${n}@montague.lit/street`)
    for (let m = 0; m < 20; m++) await made(one)
  }
  t.equal(conditionOf(await juliet.asks(request())), 'resource-constraint', 'a room has 200 tokens at most')
  const [first = ''] = (await listed(romeo)).map(([text]) => text)
  await juliet.asks(changing("<item affiliation='outcast' jid='romeo@montague.lit'/>"))
  await stranger.says(entering('benvolio', withPassword(first)))
  t.equal(conditionOf(stranger.unread.at(-1)), 'not-authorized', 'the tokens of somebody who is banned are good no more')
})

t.test('a token opens a room with a password, but no banned user, no locked and no full room', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { passwordprotectedroom: '1', roomsecret: 'open', maxusers: '2' })
  const token = await made(juliet)
  await juliet.asks(changing("<item affiliation='outcast' jid='tybalt@capulet.lit'/>"))
  const tybalt = await s.device('tybalt@capulet.lit/street')
  await tybalt.says(entering('tybalt', withPassword(token)))
  t.equal(conditionOf(tybalt.unread.at(-1)), 'forbidden')
  const romeo = await s.device('romeo@montague.lit/orchard')
  await romeo.says(entering('romeo', withPassword('wrong')))
  t.equal(conditionOf(romeo.unread.at(-1)), 'not-authorized')
  t.equal(romeo.unread.at(-1)?.getChild('error')?.getChild('expired-token'), undefined)
  await romeo.says(entering('romeo', withPassword(token)))
  t.ok(romeo.unread.some(one => codesIn(one).includes('110')))
  const nurse = await s.device('nurse@capulet.lit/room')
  await nurse.says(entering('nurse', withPassword(token)))
  t.equal(conditionOf(nurse.unread.at(-1)), 'service-unavailable')
  t.notOk((await juliet.asks(asking("<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='member'/></query>", 'get'))).toString().includes('nurse'), 'and nobody became a member')
})
