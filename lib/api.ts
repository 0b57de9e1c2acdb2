/** The one door of a module: a module imports this file, and nothing else of lib/. */

// ---- Addresses and stanzas ------------------------------------------------
export { jidOf, parseJid, JidError } from './xmpp/jid.js'
export type { Jid } from './xmpp/jid.js'
export { addressed, errorReply, forwarded, isAddressed, isIq, isMessage, isPresence, stanza, Stanza } from './xmpp/stanza.js'
export type { Addressed, Iq, Kind, Message, Presence } from './xmpp/stanza.js'
export { StanzaError, StreamError } from './xmpp/errors.js'
export type { StanzaCondition, StreamCondition } from './xmpp/errors.js'
export { urgencyOf, urgencyRules } from './xmpp/urgency.js'
export type { Urgency } from './xmpp/urgency.js'
export { formatDateTime, formatOffset, parseDateTime } from './xmpp/datetime.js'
export * from './xmpp/form.js'
export * from './xmpp/paging.js'
export { PrepError } from './xmpp/prep.js'

// ---- XML --------------------------------------------------------------------
export {
  attributeOf, child, childElements, children, clone, Element, has, localName, namespaceOf, StoredElement, textOf, xml,
} from './xml/element.js'
export { NS } from './xml/namespaces.js'
export { writable } from './xml/escape.js'
export { flatten, fromOctets, octets, shortened, toOctets } from './xml/writer.js'
export { checkElement, parseElement } from './xml/parse-element.js'
export { StoredTexts } from './xml/stored-texts.js'

// ---- Streams and sessions -----------------------------------------------------
export type { InlineContext, InlineFeature, InlineResult, Negotiation, Outcome, StreamFeature, UserAgent } from './stream/negotiation.js'
export { LARGEST_ANSWER } from './stream/bounds.js'
export * as management from './stream/stream-management.js'
export { Arrivals } from './host/arrivals.js'
export type { Arrival } from './host/arrivals.js'
export { costOfBytes, costOfRows, type Payer } from './host/cost.js'
export { Handed, original } from './host/handed.js'
export { isLasting } from './host/lasting.js'
export type { Booking, Manager } from './host/handed.js'
export type { Outlet, Pieces } from './host/outlet.js'
export type { Former, Session } from './host/session.js'
export type { Sessions } from './host/sessions.js'
export { boundInline, clientOf, deviceOf, watchedOver } from './host/slots.js'
export { flag, service, slot } from './base/slot.js'
export type { Codec, Service, Slot } from './base/slot.js'

// ---- Hooks, requests, services ----------------------------------------------------
export { hook } from './base/hook.js'
export type { Hook, Phase, Verdict } from './base/hook.js'
export * from './host/events.js'
export * from './host/services.js'
export type { Answer, IqTable, IqTarget, Request } from './host/iq.js'
export { follow } from './base/maybe.js'
export type { Maybe } from './base/maybe.js'

// ---- Storage ------------------------------------------------------------------------
export { isFirstIn } from './storage/once.js'
export { Unreadable, unlessUnreadable } from './storage/aside.js'
export { hasForm, isText } from './storage/shape.js'
export { checkedPage, journal, readEntries, records, StorageUnavailable, UnknownEntry } from './storage/store.js'
export type { Batch, Entry, Journal, JournalPage, JournalQuery, NewEntry, Records, Shape, Shapes, Stores, Write } from './storage/store.js'

// ---- Settings, and the world handed in --------------------------------------------------
export { Cache } from './base/cache.js'
export { networkOf, neighbourhoodOf, siteOf } from './base/network.js'
export { readDuration, writeDuration } from './base/units.js'
export { Budgets, FairClaims, SharedRate, TokenBucket } from './base/rate.js'
export { Kept } from './base/kept.js'
export { FairCache } from './base/fair-cache.js'
export { Ledger } from './base/ledger.js'
export type { Share } from './base/ledger.js'
export * as setting from './config/schema.js'
export type { Schema, Values } from './config/schema.js'
export type { Clock, Timer } from './base/clock.js'
export type { Ids } from './base/ids.js'
export type { Fields, Logger } from './base/logger.js'
export { VERSION } from './base/package.js'

// ---- Modules ----------------------------------------------------------------------------
export { defineModule } from './host/module.js'
export { AccountExists, AccountMissing, Overloaded, PasswordError } from './host/module.js'
export type { AccountsOfHost, AnyModule, ClientsOfHost, Module, ModuleHost } from './host/module.js'
