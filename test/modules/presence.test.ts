import t from 'tap'
import { childElements, type Element } from '../../lib/xml/element.js'
import { scenario, type Scenario } from '../scenario.js'
import type { Device } from '../device.js'

const MODULES = ['presence', 'message']
const ROMEO = 'romeo@montague.lit'
const JULIET = 'juliet@capulet.lit'

/** What of presence has come, by sender and type. */
function seen (device: Device): string[] {
  return device.unread.filter(element => element.name === 'presence').map(element => `${element.attrs['from'] ?? ''} ${element.attrs['type'] ?? 'available'}`).sort()
}

function conditionOf (stanza: Element): string | undefined {
  const error = childElements(stanza).find(child => child.getName() === 'error')
  return error === undefined ? undefined : childElements(error)[0]?.getName()
}

/** Romeo and Juliet see each other, and both stand with a device that has not said that it is there. */
async function lovers (s: Scenario): Promise<{ readonly romeo: Device, readonly juliet: Device }> {
  const romeo = await s.device(`${ROMEO}/orchard`, { presence: false })
  const juliet = await s.device(`${JULIET}/balcony`, { presence: false })
  await s.contact(ROMEO, JULIET)
  await s.contact(JULIET, ROMEO)
  romeo.forget()
  juliet.forget()
  return { romeo, juliet }
}

t.test('who comes is seen by subscribers, and by the own devices; and sees who is there', async t => { // §4.2
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await lovers(s)
  const stranger = await s.device('paris@capulet.lit/street')
  const street = await s.device(`${ROMEO}/street`)
  await romeo.says('<presence><show>chat</show></presence>')
  t.same(seen(romeo), [`${ROMEO}/orchard available`, `${ROMEO}/street available`], 'itself, and the other device')
  t.same(seen(street), [`${ROMEO}/orchard available`])
  t.same(seen(juliet), [], 'she is not there yet')
  for (const device of [romeo, street]) device.forget()
  await juliet.says('<presence/>')
  t.same(seen(juliet), [`${JULIET}/balcony available`, `${ROMEO}/orchard available`, `${ROMEO}/street available`])
  t.match(juliet.unread.find(element => element.attrs['from'] === `${ROMEO}/orchard`)?.toString(), '<show>chat</show>', 'as he last said it')
  for (const device of [romeo, street]) t.same(seen(device), [`${JULIET}/balcony available`])
  await stranger.getsNothing()
  for (const device of [romeo, juliet]) device.forget()
  await juliet.says('<presence><priority>3</priority><show>away</show></presence>')
  await romeo.gets(`<presence from='${JULIET}/balcony' to='${ROMEO}'><show>away</show></presence>`)
  t.same(seen(juliet), [`${JULIET}/balcony available`], 'who was there already is not asked again')
})

t.test('one direction of a subscription is one direction', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device(`${ROMEO}/orchard`)
  const juliet = await s.device(`${JULIET}/balcony`)
  await romeo.says(`<presence to='${JULIET}' type='subscribe'/>`)
  await juliet.says(`<presence to='${ROMEO}' type='subscribed'/>`)
  for (const device of [romeo, juliet]) device.forget()
  await romeo.says('<presence><show>xa</show></presence>')
  t.same(seen(juliet), [])
  await juliet.says('<presence><show>xa</show></presence>')
  t.same(seen(romeo).filter(line => line.startsWith(JULIET)), [`${JULIET}/balcony available`])
})

t.test('who goes, says so, or loses the line is gone for all who saw it, with the words it left', async t => { // §4.5
  for (const how of ['says', 'closes', 'loses']) {
    const s = await scenario(t, { modules: MODULES })
    const { romeo, juliet } = await lovers(s)
    await romeo.says('<presence/>')
    await juliet.says('<presence/>')
    romeo.forget()
    if (how === 'says') await juliet.says("<presence type='unavailable'><status>nurse calls</status></presence>")
    else if (how === 'loses') await juliet.loses('connection')
    else {
      juliet.session.close()
      await s.settled()
    }
    t.same(seen(romeo), [`${JULIET}/balcony unavailable`], how)
    if (how === 'says') t.match(romeo.unread[0]?.toString(), 'nurse calls')
    romeo.forget()
    if (how === 'says') await juliet.says("<presence type='unavailable'/>")
    await romeo.getsNothing()
  }
})

t.test('presence sent to somebody is theirs, and so is its end; once, whether they subscribe or not', async t => { // §4.6
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await lovers(s)
  const nurse = await s.device('nurse@capulet.lit/house')
  const tybalt = await s.device('tybalt@capulet.lit/street')
  await juliet.says('<presence/>')
  await romeo.says(`<presence to='nurse@capulet.lit/house'/>`)
  t.same(seen(nurse), [`${ROMEO}/orchard available`], 'who is not there for all may be there for one')
  await romeo.says('<presence/>', `<presence to='${JULIET}'><show>dnd</show></presence>`, "<presence to='tybalt@capulet.lit'/>", "<presence to='tybalt@capulet.lit' type='unavailable'/>")
  for (const device of [juliet, nurse, tybalt]) device.forget()
  await romeo.says('<presence><show>away</show></presence>')
  t.same(seen(nurse), [], 'what is for all is not for her (§4.6.3)')
  juliet.forget()
  await romeo.loses('connection')
  t.same(seen(juliet), [`${ROMEO}/orchard unavailable`])
  t.same(seen(nurse), [`${ROMEO}/orchard unavailable`])
  t.same(seen(tybalt), [], 'he was told already')
})

t.test('a device can send its presence to so many', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { presence: { directed: 2 } } })
  const romeo = await s.device(`${ROMEO}/orchard`)
  for (const name of ['a', 'b', 'a']) await romeo.says(`<presence id='${name}' to='${name}@rooms.lit/romeo'/>`)
  romeo.forget()
  await romeo.says("<presence id='c' to='c@rooms.lit/romeo'/>")
  t.equal(conditionOf(await romeo.gets("<presence type='error' id='c'/>")), 'resource-constraint')
  await romeo.says("<presence to='a@rooms.lit/romeo' type='unavailable'/>")
  romeo.forget()
  await romeo.says("<presence id='c' to='c@rooms.lit/romeo'/>")
  t.notMatch(romeo.unread.map(conditionOf), ['resource-constraint'])
})

const PRIORITIES: readonly (readonly [string, number | undefined])[] = [
  ['', 0], ['<priority>5</priority>', 5], ['<priority>-128</priority>', -128], ['<priority> 127 </priority>', 127], ['<priority>+1</priority>', 1],
  ['<priority>128</priority>', undefined], ['<priority>-129</priority>', undefined], ['<priority>1.5</priority>', undefined],
  ['<priority>1e1</priority>', undefined], ['<priority/>', undefined], ['<priority>1</priority><priority>2</priority>', undefined],
]

t.test('a priority is an integer of one byte', async t => { // §4.7.2.3
  for (const [text, wanted] of PRIORITIES) {
    const s = await scenario(t, { modules: MODULES })
    const romeo = await s.device(`${ROMEO}/orchard`, { presence: false })
    await romeo.says(`<presence id='p'>${text}</presence>`)
    if (wanted === undefined) t.equal(conditionOf(await romeo.gets("<presence type='error' id='p'/>")), 'bad-request', text)
    else t.equal(romeo.session.priority, wanted, text)
    t.equal(romeo.session.available, wanted !== undefined, text)
  }
})

t.test('what has no meaning without an address, or none at all, is refused', async t => { // §4.7.1
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device(`${ROMEO}/orchard`)
  await s.account(JULIET)
  for (const type of ['probe', 'subscribe', 'subscribed', 'unsubscribe', 'unsubscribed', 'dance']) {
    await romeo.says(`<presence id='${type}' type='${type}'/>`)
    t.equal(conditionOf(await romeo.gets(`<presence type='error' id='${type}'/>`)), 'bad-request', type)
  }
  await romeo.says(`<presence id='x' to='${JULIET}' type='dance'/>`)
  t.equal(conditionOf(await romeo.gets("<presence type='error' id='x'/>")), 'bad-request')
  await romeo.says(`<presence to='${JULIET}' type='error'/>`, "<presence to='nobody@capulet.lit'/>", "<presence to='capulet.lit'/>")
  await romeo.getsNothing()
})

t.test('who asks hears what they may know', async t => { // §4.3.2
  const s = await scenario(t, { modules: MODULES })
  const { romeo, juliet } = await lovers(s)
  const chamber = await s.device(`${JULIET}/chamber`)
  const paris = await s.device('paris@capulet.lit/street')
  await juliet.says('<presence><show>away</show></presence>')
  await romeo.says('<presence/>')
  const asks = async (device: Device, to: string): Promise<string[]> => {
    device.forget()
    await device.says(`<presence to='${to}' type='probe'/>`)
    return seen(device)
  }
  t.same(await asks(romeo, JULIET), [`${JULIET}/balcony available`, `${JULIET}/chamber available`])
  t.same(await asks(romeo, `${JULIET}/chamber`), [`${JULIET}/chamber available`])
  t.same(await asks(romeo, `${JULIET}/gone`), [])
  t.same(await asks(chamber, JULIET), [`${JULIET}/balcony available`, `${JULIET}/chamber available`], 'one may ask for oneself')
  t.same(await asks(paris, JULIET), [], 'the refusal means nothing to who never asked to subscribe (§A.3.4)')
  t.same(await asks(paris, 'nobody@capulet.lit'), [], 'which looks the same')
  await juliet.says("<presence to='paris@capulet.lit'/>")
  t.same(await asks(paris, JULIET), [`${JULIET}/balcony available`], 'who was told may ask again (§4.6.4)')
  await juliet.says("<presence type='unavailable'/>")
  t.same(await asks(paris, JULIET), [])
})

t.test('presence for an account goes to its devices that are there, and for a device to it alone', async t => { // §8.5.2, §8.5.3
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device(`${ROMEO}/orchard`)
  const balcony = await s.device(`${JULIET}/balcony`)
  const chamber = await s.device(`${JULIET}/chamber`, { presence: '<presence><priority>-1</priority></presence>' })
  const deaf = await s.device(`${JULIET}/deaf`, { presence: false })
  for (const device of [balcony, chamber, deaf]) device.forget()
  await romeo.says(`<presence to='${JULIET}'/>`)
  t.same([balcony, chamber, deaf].map(device => seen(device).length), [1, 1, 0])
  for (const device of [balcony, chamber]) device.forget()
  for (const to of [`${JULIET}/deaf`, `${JULIET}/gone`]) await romeo.says(`<presence to='${to}'/>`)
  t.same([balcony, chamber, deaf].map(device => seen(device).length), [0, 0, 1], 'also where it is not available itself')
  await romeo.getsNothing()
})
