/** Requests for voice in a moderated room, and their approval (XEP-0045 §7.13, §8.6). */
import { DataForm, field, formIn, NS, readForm, stanza, StanzaError, xml } from '../../lib/api.js'
import type { Element, ToEntity } from '../../lib/api.js'
import { actorOf, changeRoles } from './roles.js'
import type { Occupant, Room } from './room.js'
import type { MucService } from './service.js'
import { hear, speakerOf } from './talking.js'

type Arrival = ToEntity<'message'>

const ROLE = field.choice('muc#role', ['participant'], { label: 'Requested role' })
const USER = field.jid('muc#jid', { label: 'User ID' })
const NICK = field.text('muc#roomnick', { label: 'Room nickname' })
const ALLOW = field.flag('muc#request_allow', { label: 'Grant voice to this person?' })
const APPROVAL = new DataForm(NS.MUC_REQUEST, [ROLE, USER, NICK, ALLOW], {
  title: 'Voice request', instructions: 'To grant the occupant voice, check the box and submit the form.',
})
/** An occupant may ask for voice again after this time, in milliseconds. */
const AGAIN = 60_000

/** Returns the form of a message about voice; undefined if it is none. */
export function voiceFormIn (message: Arrival['stanza']): Element | undefined {
  const form = formIn(message.element)
  return form !== undefined && readForm(form).formType === NS.MUC_REQUEST ? form : undefined
}

/** Takes a request of a visitor, or the answer of a moderator. */
export async function takeVoiceForm (service: MucService, room: Room, arrival: Arrival, form: Element): Promise<void> {
  const { stanza: { from }, batch } = arrival
  const sender = speakerOf(room, from)
  hear(service, sender, from)
  const answers = APPROVAL.read(form)
  if (answers.get(ALLOW) === undefined) {
    ask(service, room, arrival, sender)
    return
  }
  const nick = answers.get(NICK)
  if (answers.get(ALLOW) !== true || nick === undefined) return
  await changeRoles(service, room, batch, actorOf(room, from), [{ nick, role: 'participant', reason: '' }])
}

/** Sends the form to all moderators. */
function ask (service: MucService, room: Room, { batch, payer }: Arrival, asker: Occupant): void {
  if (asker.role !== 'visitor') throw new StanzaError('not-allowed', 'you have voice')
  if (service.now < asker.askedForVoice + AGAIN) throw new StanzaError('policy-violation', 'you have asked already', { type: 'wait' })
  asker.askedForVoice = service.now
  const moderators = [...room.occupants].filter(({ role }) => role === 'moderator').flatMap(({ devices }) => [...devices.values()])
  payer?.charge(moderators.length, asker.bare)
  for (const { jid } of moderators) {
    const form = APPROVAL.form([
      ROLE.is('participant'), ...asker.shown === undefined ? [] : [USER.is(asker.shown.jid)], NICK.is(asker.nick), ALLOW.is(false),
    ])
    const message = xml('message', { id: service.host.ids.next() }, form)
    service.host.outlet(room.address).sendWith(batch, stanza(message, room.address, jid))
  }
}
