/** Affiliations and roles, and who may change them (XEP-0045 §5). Pure functions. */
import { StanzaError } from '../../lib/api.js'

export type Affiliation = 'outcast' | 'none' | 'member' | 'admin' | 'owner'
export type Role = 'none' | 'visitor' | 'participant' | 'moderator'

/** From the lowest to the highest. */
export const AFFILIATIONS: readonly Affiliation[] = ['outcast', 'none', 'member', 'admin', 'owner']
export const ROLES: readonly Role[] = ['none', 'visitor', 'participant', 'moderator']

/** Returns the affiliation with this name. Throws bad-request for another name. */
export function readAffiliation (name: string): Affiliation {
  const found = AFFILIATIONS.find(one => one === name)
  if (found === undefined) throw new StanzaError('bad-request', 'an unknown affiliation')
  return found
}

/** Returns the role with this name. Throws bad-request for another name. */
export function readRole (name: string): Role {
  const found = ROLES.find(one => one === name)
  if (found === undefined) throw new StanzaError('bad-request', 'an unknown role')
  return found
}

/** True if `one` is higher than `other`. */
export function isAbove (one: Affiliation, other: Affiliation): boolean {
  return AFFILIATIONS.indexOf(one) > AFFILIATIONS.indexOf(other)
}

/** True for somebody who belongs to the room. */
export function isMember (affiliation: Affiliation): boolean { return affiliation === 'member' || isRuling(affiliation) }

/** True for admins and owners. */
export function isRuling (affiliation: Affiliation): boolean { return affiliation === 'admin' || affiliation === 'owner' }

/** Returns the role of somebody who enters (§5.1.2). */
export function roleOnEntering (affiliation: Affiliation, isModerated: boolean): Role {
  if (isRuling(affiliation)) return 'moderator'
  return affiliation === 'member' || !isModerated ? 'participant' : 'visitor'
}

/**
 * Returns the role of an occupant whose affiliation has changed (§5.1.3): what an affiliation implies is gained, and a
 * moderator by affiliation alone becomes what somebody is who enters.
 */
export function roleAfter (role: Role, before: Affiliation, after: Affiliation, isModerated: boolean): Role {
  if (isRuling(after)) return 'moderator'
  if (isRuling(before)) return roleOnEntering(after, isModerated)
  return after === 'member' && role === 'visitor' ? 'participant' : role
}

/** A change of somebody's affiliation. */
export interface AffiliationChange {
  /** The affiliation of the asker. */
  readonly by: Affiliation
  readonly from: Affiliation
  readonly to: Affiliation
  /** True if the asker changes their own affiliation. */
  readonly isOwn: boolean
}

/** Throws the error of a change that is not allowed (§5.2.2, §9, §10). Whether an owner is left is checked apart. */
export function checkAffiliation ({ by, from, to, isOwn }: AffiliationChange): void {
  if (!isRuling(by)) throw new StanzaError('forbidden')
  if (from === to) return
  if (isOwn && to === 'outcast') throw new StanzaError('conflict', 'nobody can ban themselves') // §9.1
  if (by === 'owner') return
  // §9.1: an admin cannot ban owners and admins
  if (to === 'outcast' && isRuling(from)) throw new StanzaError('not-allowed')
  // §10.5, §10.8: only owners change the lists of owners and admins
  if (isRuling(from) || isRuling(to)) throw new StanzaError('forbidden')
}

/** Somebody with a role. */
export interface Standing { readonly role: Role, readonly affiliation: Affiliation }

/** Throws the error of a change of role that is not allowed (§5.1.3, §8.2 to §8.5, §9.6 to §9.8). */
export function checkRole (by: Standing, whom: Standing, to: Role): void {
  if (by.role !== 'moderator') throw new StanzaError('forbidden')
  if (whom.role === to) return
  // §5.1.3: moderators are made and unmade by admins and owners
  if (to === 'moderator' && !isRuling(by.affiliation)) throw new StanzaError('forbidden')
  if (to === 'none') checkKick(by, whom)
  else if (to !== 'moderator') checkLowering(by, whom, to)
}

function checkKick (by: Standing, whom: Standing): void {
  if (isAbove(whom.affiliation, by.affiliation)) throw new StanzaError('not-allowed') // §8.2
  // §5.1.3: a moderator is kicked by an admin or owner
  if (whom.role === 'moderator' && !isRuling(by.affiliation)) throw new StanzaError('not-allowed')
}

function checkLowering (by: Standing, whom: Standing, to: Role): void {
  if (whom.role === 'moderator') {
    if (isRuling(whom.affiliation)) throw new StanzaError('not-allowed') // §9.7
    if (!isRuling(by.affiliation)) throw new StanzaError('forbidden')
    return
  }
  if (to !== 'visitor') return
  // §8.4: nobody takes the voice of an admin or owner, nor of somebody at or above their own affiliation
  const isAtLevel = whom.affiliation !== 'none' && !isAbove(by.affiliation, whom.affiliation)
  if (isRuling(whom.affiliation) || isAtLevel) throw new StanzaError('not-allowed')
}
