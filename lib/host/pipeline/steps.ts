/**
 * The way of a stanza, as lists of steps. A list before the destination ends with `route`; each list of a destination
 * ends with a step that settles the stanza.
 *
 * A step that is added here needs a file of its group: from-client.ts, from-server.ts, to-account.ts, to-entity.ts,
 * to-host.ts.
 */
import type { Kind } from '../../xmpp/stanza.js'
import {
  addLanguage, checkFrom, checkTo, dropForged, fireIqSent, fireMessageSent, firePresenceSent, noteArchiveQuery, route,
  type ClientHome,
} from './from-client.js'
import {
  addPeerLanguage, chargePeer, dropForeignForged, fireFromServer, mustBeProved, mustBeServed, takePing, type ServerHome,
} from './from-server.js'
import type { Step } from './passage.js'
import {
  awaitTurn, delayBriefly, deliverIq, deliverMessage, deliverPresence, findAccountHandler, fireIqArriving,
  fireMessageAddressed, fireMessageArriving, firePresenceArriving, mustExist, type AccountHome,
} from './to-account.js'
import {
  findEntity, findEntityHandler, fireEntityIq, fireEntityMessage, fireEntityPresence, giveMessage, givePresence,
  takeAwaitedReply, type EntityHome,
} from './to-entity.js'
import {
  answer, catchUp, findHostHandler, ignorePresence, readPayload, refuseMessage, serve, takeReply, type HostHome,
} from './to-host.js'

type Steps<H> = Readonly<Record<Kind, readonly Step<H>[]>>

/** From a client, as far as the router. */
export const FROM_CLIENT: Steps<ClientHome> = {
  message: [checkFrom, addLanguage, checkTo, dropForged, fireMessageSent, route],
  presence: [checkFrom, addLanguage, checkTo, dropForged, firePresenceSent, route],
  iq: [checkFrom, addLanguage, checkTo, noteArchiveQuery, fireIqSent, route],
}

/** From another server, as far as the router. */
export const FROM_SERVER: Steps<ServerHome> = {
  message: [mustBeServed, mustBeProved, addPeerLanguage, dropForeignForged, fireFromServer, route],
  presence: [mustBeServed, mustBeProved, addPeerLanguage, chargePeer, dropForeignForged, fireFromServer, route],
  iq: [mustBeServed, mustBeProved, addPeerLanguage, takePing, chargePeer, dropForeignForged, fireFromServer, route],
}

/** From an external component, as far as the router. */
export const FROM_COMPONENT: Steps<ServerHome> = {
  message: [dropForeignForged, route], presence: [dropForeignForged, route], iq: [dropForeignForged, route],
}

const MESSAGE_IN_LANE: readonly Step<AccountHome>[] = [
  mustExist, fireMessageArriving, fireMessageAddressed, deliverMessage,
]
const PRESENCE_IN_LANE: readonly Step<AccountHome>[] = [firePresenceArriving, deliverPresence]

/** To an account of this server, or to one of its devices. */
export const TO_ACCOUNT: Steps<AccountHome> = {
  message: [serve, awaitTurn, ...MESSAGE_IN_LANE],
  presence: [serve, awaitTurn, ...PRESENCE_IN_LANE],
  iq: [serve, delayBriefly, fireIqArriving, deliverIq, takeReply, findAccountHandler, catchUp, answer],
}

const IN_LANE_OF_ENTITY: Steps<EntityHome> = {
  message: [findEntity, fireEntityMessage, giveMessage],
  presence: [findEntity, fireEntityPresence, givePresence],
  iq: [findEntity, fireEntityIq, findEntityHandler, answer],
}

/** To an entity of a service: a room, a node. Each entity takes one stanza at a time. */
export const TO_ENTITY: Steps<EntityHome & AccountHome> = {
  message: [serve, awaitTurn, ...IN_LANE_OF_ENTITY.message],
  presence: [serve, awaitTurn, ...IN_LANE_OF_ENTITY.presence],
  // A request catches up before its turn: a lane never waits for a stanza that waits for another lane.
  iq: [serve, readPayload, takeAwaitedReply, catchUp, awaitTurn, ...IN_LANE_OF_ENTITY.iq],
}

/** To the host itself. */
export const TO_HOST: Steps<HostHome> = {
  message: [serve, refuseMessage],
  presence: [serve, ignorePresence],
  iq: [serve, readPayload, takeReply, findHostHandler, catchUp, answer],
}

/** Stanzas to an account that the previous process left, in their turn in its lane. */
export const LEFT: Steps<AccountHome> = { message: MESSAGE_IN_LANE, presence: PRESENCE_IN_LANE, iq: TO_ACCOUNT.iq }

/** Stanzas to an entity that the previous process left, in their turn in its lane. */
export const LEFT_TO_ENTITY: Steps<EntityHome> = {
  message: IN_LANE_OF_ENTITY.message, presence: IN_LANE_OF_ENTITY.presence, iq: [readPayload, ...IN_LANE_OF_ENTITY.iq],
}
