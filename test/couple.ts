/** Romeo and Juliet, the pair of most scenes. */
import type { Device } from './device.js'
import type { Arriving, Scenario } from './scenario.js'

const ROMEO = 'romeo@montague.lit'
const JULIET = 'juliet@capulet.lit'

export interface Couple { readonly romeo: Device, readonly juliet: Device }

/** Binds Romeo's device `orchard` and Juliet's device `balcony`. */
export async function couple (s: Scenario, how: Arriving = {}): Promise<Couple> {
  return { romeo: await s.device(`${ROMEO}/orchard`, how), juliet: await s.device(`${JULIET}/balcony`, how) }
}

/** Binds the two devices of a couple whose accounts are subscribed to each other's presence. */
export async function lovers (s: Scenario, how: Arriving = {}): Promise<Couple> {
  for (const [account, contact] of [[ROMEO, JULIET], [JULIET, ROMEO]] as const) {
    await s.account(account)
    await s.contact(account, contact)
  }
  return await couple(s, how)
}
