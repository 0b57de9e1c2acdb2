/** Tokens that log a client in (XEP-0484), and the mechanisms that take them. */

/** The mechanisms, the strongest first. */
export const TOKEN_MECHANISMS = ['HT-SHA-256-EXPR', 'HT-SHA-256-ENDP', 'HT-SHA-256-NONE'] as const

export type TokenMechanism = typeof TOKEN_MECHANISMS[number]

/**
 * A secret that a client uses instead of the password, valid for one mechanism. Times are in milliseconds since 1970.
 */
export interface Token {
  readonly secret: string
  readonly mechanism: TokenMechanism
  readonly made: number
  readonly expires: number
}
