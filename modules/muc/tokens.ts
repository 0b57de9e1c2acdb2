/** Tokens: who has one becomes a member on entering (XEP-0488). */
import { attributeOf, NS, parseJid, StanzaError, textOf, xml } from '../../lib/api.js'
import type { Element, Jid, Request, Write } from '../../lib/api.js'
import { randomBytes } from 'node:crypto'
import { checkInviter } from './inviting.js'
import type { Room, Token } from './room.js'
import type { MucService } from './service.js'
import { isMember, isRuling } from './standing.js'

/** The tokens of a room, and those that one user has made. */
const MOST = 200
const MOST_EACH = 20
/** How long a token is good, in seconds: at most, and unless the request says it (§8). */
const LONGEST = 31 * 86_400
const USUAL = 7 * 86_400
/** How often a token is good at most. */
const MOST_USES = 1000

/** Makes a token (§4.1). Rejects with forbidden for who may not invite, and with resource-constraint. */
export async function makeToken (
  service: MucService, room: Room, { stanza: { from }, payload }: Request,
): Promise<Element> {
  checkInviter(room, from)
  const delay = Math.min(numberIn(payload, 'delay') ?? USUAL, LONGEST)
  const wanted = numberIn(payload, 'counter')
  if (delay === 0 || wanted === 0) throw new StanzaError('not-acceptable', 'nobody could use the token')
  const left = wanted === undefined ? 0 : Math.min(wanted, MOST_USES)
  const over = overIn(service, room)
  const by = from.bare.toString()
  const good = [...room.tokens].filter(([text]) => !over.includes(text))
  if (good.length >= MOST || good.filter(([, token]) => token.by === by).length >= MOST_EACH) {
    throw new StanzaError('resource-constraint', 'there are too many tokens: revoke some', { type: 'wait' })
  }
  const text = randomBytes(24).toString('base64url')
  const token = { by, until: service.now + delay * 1000, left }
  await service.store([...over, text].map(one => tokenWrite(service, room, one, one === text ? token : undefined)))
  for (const one of over) room.tokens.delete(one)
  room.tokens.set(text, token)
  return tokenElement(service, text, token, NS.MUC_TOKENS)
}

/** Lists the tokens that somebody may revoke (§4.4): their own, or all for admins and moderators. */
export function listTokens (service: MucService, room: Room, { stanza: { from } }: Request): Element {
  checkInviter(room, from)
  const over = overIn(service, room)
  const own = [...room.tokens].filter(([text, token]) => !over.includes(text) && mayRevoke(room, from, token))
  return xml('tokens', { xmlns: NS.MUC_TOKENS }, ...own.map(([text, token]) => tokenElement(service, text, token)))
}

/** Revokes a token (§4.5). Rejects with item-not-found if there is none that the asker may revoke. */
export async function revokeToken (
  service: MucService, room: Room, { stanza: { from }, payload }: Request,
): Promise<void> {
  checkInviter(room, from)
  const text = textOf(payload)
  const token = room.tokens.get(text)
  if (token === undefined || !mayRevoke(room, from, token)) throw new StanzaError('item-not-found')
  await service.store([tokenWrite(service, room, text, undefined)])
  room.tokens.delete(text)
}

/**
 * Returns the token with this text if it is good: not over, and its maker still belongs to the room, or is in it.
 * Undefined if there is none.
 */
export function goodToken (service: MucService, room: Room, text: string): Token | undefined {
  const token = room.tokens.get(text)
  return token !== undefined && token.until > service.now && isMakerThere(room, token) ? token : undefined
}

/** Returns the write of a use, and what notes it once that is stored. */
export function useToken (
  service: MucService, room: Room, text: string, { left, ...token }: Token,
): { readonly write: Write, readonly used: () => void } {
  const next = left === 1 ? undefined : { ...token, left: Math.max(0, left - 1) }
  return {
    write: tokenWrite(service, room, text, next),
    used: () => { if (next === undefined) room.tokens.delete(text); else room.tokens.set(text, next) },
  }
}

/** §4.3: the part of the error that says that a password may have been a token. */
export function expiredToken (): Element { return xml('expired-token', { xmlns: NS.MUC_TOKENS }) }

function isMakerThere (room: Room, { by }: Token): boolean {
  const maker = parseJid(by)
  const affiliation = room.affiliationOf(maker)
  return isMember(affiliation) || affiliation === 'none' && room.ofUser(maker).length > 0
}

function mayRevoke (room: Room, asker: Jid, { by }: Token): boolean {
  return by === asker.bare.toString() || isRuling(room.affiliationOf(asker)) || room.of(asker)?.role === 'moderator'
}

/** Returns the tokens that are over. */
function overIn ({ now }: MucService, { tokens }: Room): readonly string[] {
  return [...tokens].filter(([, { until }]) => until <= now).map(([text]) => text)
}

function tokenWrite ({ stores }: MucService, room: Room, text: string, token: Token | undefined): Write {
  return stores.tokens.putting(room.owner, text, token)
}

function tokenElement ({ now }: MucService, text: string, { until, left }: Token, xmlns?: string): Element {
  const delay = Math.max(0, Math.floor((until - now) / 1000))
  return xml('token', { xmlns, delay, counter: left === 0 ? undefined : left }, text)
}

/** Reads an unsigned integer in an attribute. Throws bad-request. */
function numberIn (element: Element, name: string): number | undefined {
  const text = attributeOf(element, name)
  if (text === undefined) return undefined
  if (!/^\+?[0-9]{1,10}$/.test(text)) throw new StanzaError('bad-request', `${name} is not a number`)
  return Number(text)
}
