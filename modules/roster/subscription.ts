/** RFC 6121 Appendix A: the states of a subscription as one table. Pure functions. */
import { hasFrom, hasTo } from '../../lib/api.js'

/** The types of presence that change a subscription. */
export type SubscriptionType = 'subscribe' | 'subscribed' | 'unsubscribe' | 'unsubscribed'

/**
 * The subscriptions between an account and a contact. `pendingIn`: the contact's request is pending; `ask`: the
 * account's is.
 */
export interface State {
  readonly subscription: 'none' | 'to' | 'from' | 'both'
  readonly ask: boolean
  readonly pendingIn: boolean
  readonly approved: boolean
}

/**
 * The effect of a subscription stanza: the new state, whether the stanza is passed on (to the contact or to the
 * account's sessions), and the server's own answer.
 */
export interface Step {
  readonly state: State
  readonly pass: boolean
  /** 'subscribed' if the server answers for the account, because the request was approved before (§3.1.3, §3.4.2). */
  readonly answer: 'subscribed' | undefined
}

/** True if presence of this type changes a subscription. */
export function isSubscriptionType (type: string): type is SubscriptionType {
  return type === 'subscribe' || type === 'subscribed' || type === 'unsubscribe' || type === 'unsubscribed'
}

/** Returns the effect of a stanza that the account sends (§A.2). */
export function outbound (state: State, type: SubscriptionType): Step {
  switch (type) {
    case 'subscribe': // §A.2.1: always passed on
      return pass(hasTo(state) ? state : { ...state, ask: true })
    case 'unsubscribe': // §A.2.2
      return pass(withTo({ ...state, ask: false }, false))
    case 'subscribed': // §A.2.3: passed on only if a request is pending; otherwise a pre-approval (§3.4)
      if (state.pendingIn) return pass(withFrom({ ...state, pendingIn: false, approved: false }, true))
      return stop(hasFrom(state) ? state : { ...state, approved: true })
    case 'unsubscribed': // §A.2.4: refuses a request, or ends a subscription or a pre-approval
      if (!state.pendingIn && !hasFrom(state)) return stop({ ...state, approved: false })
      return pass(withFrom({ ...state, pendingIn: false, approved: false }, false))
  }
}

/** Returns the effect of a stanza that the contact sends (§A.3). */
export function inbound (state: State, type: SubscriptionType): Step {
  switch (type) {
    case 'subscribe': // §A.3.1
      if (hasFrom(state)) return { ...stop(state), answer: 'subscribed' }
      if (state.approved) return { ...stop(withFrom({ ...state, pendingIn: false, approved: false }, true)), answer: 'subscribed' }
      return state.pendingIn ? stop(state) : pass({ ...state, pendingIn: true })
    case 'unsubscribe': // §A.3.2
      return state.pendingIn || hasFrom(state) ? pass(withFrom({ ...state, pendingIn: false }, false)) : stop(state)
    case 'subscribed': // §A.3.3: passed on only if the account has asked
      return state.ask ? pass(withTo({ ...state, ask: false }, true)) : stop(state)
    case 'unsubscribed': // §A.3.4
      return state.ask || hasTo(state) ? pass(withTo({ ...state, ask: false }, false)) : stop(state)
  }
}

function withTo (state: State, to: boolean): State {
  return { ...state, subscription: subscriptionOf(to, hasFrom(state)) }
}

function withFrom (state: State, from: boolean): State {
  return { ...state, subscription: subscriptionOf(hasTo(state), from) }
}

function subscriptionOf (to: boolean, from: boolean): State['subscription'] {
  return to ? from ? 'both' : 'to' : from ? 'from' : 'none'
}

function pass (state: State): Step { return { state, pass: true, answer: undefined } }
function stop (state: State): Step { return { state, pass: false, answer: undefined } }
