/** The steps of a stanza to an entity: an address at a service that is no account, such as a room. */
import type { Hooks } from '../../base/hook.js'
import { follow, type Maybe } from '../../base/maybe.js'
import { StanzaError } from '../../xmpp/errors.js'
import type { Addressed, Kind } from '../../xmpp/stanza.js'
import type { ToEntity } from '../entity.js'
import { entityIq, entityMessage, entityPresence } from '../events.js'
import type { LoadedEntity } from '../loaded-entity.js'
import { handled, NEXT, unlessHandled, type Outcome, type Passage } from './passage.js'
import type { HostHome } from './to-host.js'

/** The host of the entity, as the steps use it. */
export interface EntityHome extends HostHome {
  readonly hooks: Hooks
  readonly entities: {
    use (arrival: ToEntity): Maybe<LoadedEntity | undefined>
    release (entity: LoadedEntity): void
  }
}

const REPLY = handled('a reply to the server')
const NO_ENTITY = handled('there is no such entity')
const TAKEN = handled('the entity')

/** Takes a reply to a request that the server itself has sent for the entity. It does not wait for other stanzas. */
export function takeAwaitedReply ({ iq, payload }: Passage, { requests }: EntityHome): Outcome {
  return payload === undefined && requests.settle(iq) ? REPLY : NEXT
}

/** Loads the entity. It stays loaded until the stanza is settled. */
export function findEntity (passage: Passage, { entities }: EntityHome): Maybe<Outcome> {
  return follow(entities.use(arrivalOf(passage, passage.addressed)), entity => {
    if (entity === undefined) {
      if (isUnanswered(passage.addressed)) return NO_ENTITY
      throw new StanzaError('item-not-found')
    }
    passage.entity = entity
    passage.whenSettled(() => { entities.release(entity) })
    return NEXT
  })
}

/** RFC 6121 §8.5.1: nobody is told that there is no reader for these. */
function isUnanswered ({ kind, type }: Addressed): boolean {
  if (kind === 'message') return type === 'headline'
  return kind === 'presence' && type !== 'available' && type !== 'subscribe' && type !== 'probe'
}

export function fireEntityMessage (passage: Passage, { hooks }: EntityHome): Maybe<Outcome> {
  const { message, session, batch } = passage
  const event = { message, entity: entityOf(passage), session, batch }
  return follow(hooks.run(entityMessage, event), by => {
    passage.stanza = event.message
    return unlessHandled(by)
  })
}

export function fireEntityPresence (passage: Passage, { hooks }: EntityHome): Maybe<Outcome> {
  const { presence, session, batch } = passage
  const event = { presence, entity: entityOf(passage), session, batch }
  return follow(hooks.run(entityPresence, event), by => {
    passage.stanza = event.presence
    return unlessHandled(by)
  })
}

export function fireEntityIq (passage: Passage, { hooks }: EntityHome): Maybe<Outcome> {
  const { iq, session, batch } = passage
  return follow(hooks.run(entityIq, { iq, entity: entityOf(passage), session, batch }), unlessHandled)
}

/** Gives a message to the entity. RFC 6121 §8.5.1: an entity that takes no messages refuses it. */
export function giveMessage (passage: Passage): Maybe<Outcome> {
  const { message } = passage
  return follow(entityOf(passage).message(arrivalOf(passage, message)), taken => {
    if (taken === undefined && message.type !== 'error' && message.type !== 'headline') {
      throw new StanzaError('service-unavailable')
    }
    return TAKEN
  })
}

export function givePresence (passage: Passage): Maybe<Outcome> {
  return follow(entityOf(passage).presence(arrivalOf(passage, passage.presence)), () => TAKEN)
}

/**
 * Finds the handler of a request to the bare address: that of the kind of the entity, or one for all entities. All
 * other iqs are given to the entity. RFC 6120 §8.4: if nobody understands the request, it is refused.
 */
export function findEntityHandler (passage: Passage, { handlers }: EntityHome): Maybe<Outcome> {
  const { iq, payload } = passage
  const entity = entityOf(passage)
  if (payload !== undefined && iq.to.resource === '') {
    passage.answering = handlers.find(`entity ${entity.kind}`, iq.type, payload) ?? handlers.find('entity', iq.type, payload)
    if (passage.answering !== undefined) return NEXT
  }
  return follow(entity.iq(arrivalOf(passage, iq)), verdict => {
    if (verdict !== 'handled' && payload !== undefined) throw new StanzaError('service-unavailable')
    return TAKEN
  })
}

function arrivalOf<K extends Kind> ({ session, peer, batch }: Passage, stanza: Addressed<K>): ToEntity<K> {
  return { stanza, session, payer: session ?? peer, batch }
}

function entityOf ({ entity }: Passage): LoadedEntity {
  if (entity === undefined) throw new Error('the entity is not loaded')
  return entity
}
