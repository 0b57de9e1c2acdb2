/** The tables of XEP-0045 §5: who gets which role, and who may change what, for all roles and affiliations. */
import t from 'tap'
import { AFFILIATIONS, checkAffiliation, checkRole, roleAfter, roleOnEntering, ROLES, type Affiliation, type Role } from '../../modules/muc/standing.js'
import { StanzaError } from '../../lib/xmpp/errors.js'

const RULING: readonly Affiliation[] = ['admin', 'owner']
const isRuling = (affiliation: Affiliation): boolean => RULING.includes(affiliation)

function conditionFor (work: () => void): string {
  try {
    work()
    return 'allowed'
  } catch (error) {
    if (error instanceof StanzaError) return error.condition
    throw error
  }
}

t.test('§5.1.2 the role on entering', async t => {
  const table: Readonly<Record<string, readonly Role[]>> = {
    // none, member, admin, owner
    moderated: ['visitor', 'participant', 'moderator', 'moderator'],
    unmoderated: ['participant', 'participant', 'moderator', 'moderator'],
  }
  for (const [kind, roles] of Object.entries(table)) {
    t.same(AFFILIATIONS.slice(1).map(one => roleOnEntering(one, kind === 'moderated')), roles, kind)
  }
})

t.test('§5.2.2 each change of an affiliation, by each affiliation', async t => {
  const expected = (by: Affiliation, from: Affiliation, to: Affiliation, isOwn: boolean): string => {
    if (!isRuling(by)) return 'forbidden'
    if (from === to) return 'allowed'
    if (isOwn && to === 'outcast') return 'conflict'
    if (by === 'owner') return 'allowed'
    if (!isRuling(from) && !isRuling(to)) return 'allowed'
    return to === 'outcast' ? 'not-allowed' : 'forbidden'
  }
  const pairs = AFFILIATIONS.flatMap(by => AFFILIATIONS.map(from => ({ by, from })))
  const cases = pairs.flatMap(pair => [true, false].map(isOwn => ({ ...pair, isOwn })))
  for (const { by, from, isOwn } of cases) for (const to of AFFILIATIONS) {
    if (isOwn && by !== from) continue
    t.equal(conditionFor(() => { checkAffiliation({ by, from, to, isOwn }) }), expected(by, from, to, isOwn), `${by}: ${from} to ${to}${isOwn ? ', own' : ''}`)
  }
})

t.test('§5.1.3 each change of a role, by each role and affiliation', async t => {
  const rank = (affiliation: Affiliation): number => AFFILIATIONS.indexOf(affiliation)
  type Standing = { readonly role: Role, readonly affiliation: Affiliation }
  const expected = (by: Standing, whom: Standing, to: Role): string => {
    if (by.role !== 'moderator') return 'forbidden'
    if (whom.role === to) return 'allowed'
    switch (to) {
      case 'moderator': return isRuling(by.affiliation) ? 'allowed' : 'forbidden'
      case 'none':
        if (rank(whom.affiliation) > rank(by.affiliation)) return 'not-allowed'
        return whom.role === 'moderator' && !isRuling(by.affiliation) ? 'not-allowed' : 'allowed'
      default:
        if (whom.role === 'moderator') return isRuling(whom.affiliation) ? 'not-allowed' : isRuling(by.affiliation) ? 'allowed' : 'forbidden'
        if (to === 'participant') return 'allowed'
        return isRuling(whom.affiliation) || whom.affiliation !== 'none' && rank(whom.affiliation) >= rank(by.affiliation) ? 'not-allowed' : 'allowed'
    }
  }
  const standings = ROLES.slice(1).flatMap(role => AFFILIATIONS.slice(1).map(affiliation => ({ role, affiliation })))
  for (const by of standings) for (const whom of standings) for (const to of ROLES) {
    t.equal(conditionFor(() => { checkRole(by, whom, to) }), expected(by, whom, to), `${by.affiliation} ${by.role}: ${whom.affiliation} ${whom.role} to ${to}`)
  }
})

t.test('§5.1.3 the role after an affiliation has changed', async t => {
  for (const isModerated of [true, false]) {
    t.equal(roleAfter('visitor', 'none', 'member', isModerated), 'participant')
    t.equal(roleAfter('moderator', 'none', 'member', isModerated), 'moderator', 'a moderator without affiliation stays one')
    t.equal(roleAfter('participant', 'none', 'admin', isModerated), 'moderator')
    t.equal(roleAfter('moderator', 'owner', 'member', isModerated), 'participant')
    t.equal(roleAfter('moderator', 'admin', 'none', isModerated), isModerated ? 'visitor' : 'participant')
    t.equal(roleAfter('participant', 'member', 'none', isModerated), 'participant')
  }
})
