/** RFC 6121 Appendix A: the states of a subscription, as one table. Pure: what is done about it stands in index.ts. */

export type SubscriptionType = 'subscribe' | 'subscribed' | 'unsubscribe' | 'unsubscribed'

/** Where an account and a contact stand. `pendingIn`: the contact's request waits; `ask`: the account's does. */
export interface State {
  readonly subscription: 'none' | 'to' | 'from' | 'both'
  readonly ask: boolean
  readonly pendingIn: boolean
  readonly approved: boolean
}

/**
 * What a subscription stanza does: the state behind it, whether it goes on (to the contact, or to the account's devices), whether
 * the server answers it itself.
 */
export interface Step {
  readonly state: State
  readonly pass: boolean
  /** The server answers in the account's name: 'subscribed' to a request that was approved before (§3.1.3, §3.4.2). */
  readonly answer: 'subscribed' | undefined
}

export function isSubscriptionType (type: string): type is SubscriptionType {
  return type === 'subscribe' || type === 'subscribed' || type === 'unsubscribe' || type === 'unsubscribed'
}

/** §A.2: the account sends it. */
export function outbound (state: State, type: SubscriptionType): Step {
  switch (type) {
    case 'subscribe': // §A.2.1: always on its way
      return pass(hasTo(state) ? state : { ...state, ask: true })
    case 'unsubscribe': // §A.2.2
      return pass(withTo({ ...state, ask: false }, false))
    case 'subscribed': // §A.2.3: only to one who has asked; to others it is an approval in advance (§3.4)
      if (state.pendingIn) return pass(withFrom({ ...state, pendingIn: false, approved: false }, true))
      return stop(hasFrom(state) ? state : { ...state, approved: true })
    case 'unsubscribed': // §A.2.4: a refusal, the end of a subscription, or of an approval in advance
      if (state.pendingIn || hasFrom(state)) return pass(withFrom({ ...state, pendingIn: false, approved: false }, false))
      return stop({ ...state, approved: false })
  }
}

/** §A.3: the contact sends it. */
export function inbound (state: State, type: SubscriptionType): Step {
  switch (type) {
    case 'subscribe': // §A.3.1
      if (hasFrom(state)) return { ...stop(state), answer: 'subscribed' }
      if (state.approved) return { ...stop(withFrom({ ...state, pendingIn: false, approved: false }, true)), answer: 'subscribed' }
      return state.pendingIn ? stop(state) : pass({ ...state, pendingIn: true })
    case 'unsubscribe': // §A.3.2
      return state.pendingIn || hasFrom(state) ? pass(withFrom({ ...state, pendingIn: false }, false)) : stop(state)
    case 'subscribed': // §A.3.3: only where the account has asked
      return state.ask ? pass(withTo({ ...state, ask: false }, true)) : stop(state)
    case 'unsubscribed': // §A.3.4
      return state.ask || hasTo(state) ? pass(withTo({ ...state, ask: false }, false)) : stop(state)
  }
}

/** The account sees the contact's presence. */
export function hasTo ({ subscription }: Pick<State, 'subscription'>): boolean {
  return subscription === 'to' || subscription === 'both'
}

/** The contact sees the account's presence. */
export function hasFrom ({ subscription }: Pick<State, 'subscription'>): boolean {
  return subscription === 'from' || subscription === 'both'
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
