/** The steps of a stanza to another server. */
import { follow, type Maybe } from '../../base/maybe.js'
import { stanzaToServer } from '../../host/events.js'
import { handled, NEXT, unlessHandled, type Outcome, type Passage, type Step } from '../../host/pipeline/passage.js'
import { StanzaError } from '../../xmpp/errors.js'
import type { Addressed } from '../../xmpp/stanza.js'
import type { FederationContext } from './context.js'
import { isAnswered } from '../ground/queued-stanza.js'
import type { Rooms } from './room.js'

/** The queues to other servers, as the steps use them. */
export interface ToServerHome {
  readonly world: FederationContext
  readonly rooms: Rooms
  /** Puts a stanza into its queue. `row` is its row on the disk, if there is one. Throws StanzaError. */
  push (this: void, stanza: Addressed, row: string | undefined): void
  /** Counts a stanza that is lost without an answer to its sender. */
  lose (this: void, stanza: Addressed): void
}

export const TO_SERVER: readonly Step<ToServerHome>[] = [mustBeOurs, fireToServer, forward]

const RELAYED = handled('this server speaks for nobody else')

/** RFC 6120 §8.1.1.2: a server speaks only for its own domains. */
function mustBeOurs ({ stanza: { from } }: Passage, { world }: ToServerHome): Outcome {
  if (world.router.serves(from.domain)) return NEXT
  world.count('relayed')
  return RELAYED
}

function fireToServer ({ addressed: stanza }: Passage, { world }: ToServerHome): Maybe<Outcome> {
  const hooks = world.host(stanza.from.domain)?.hooks
  if (hooks?.has(stanzaToServer) !== true) return NEXT
  return follow(hooks.run(stanzaToServer, { stanza, peer: stanza.to.domain }), unlessHandled)
}

/** Sends the stanza after the commit. The stanza itself is stored in the same batch. */
function forward ({ addressed: stanza, batch }: Passage, { world, rooms, push, lose }: ToServerHome): Outcome {
  const { outbox } = world
  const row = outbox.keep(stanza, batch)
  const arrived = row === undefined ? undefined : rooms.coming(stanza, batch)
  batch.delivering(() => {
    arrived?.()
    try {
      push(stanza, row)
    } catch (error) {
      outbox.done({ row, stanza })
      if (!(error instanceof StanzaError)) throw error
      if (!isAnswered(stanza)) { lose(stanza); return }
      world.count('bounced', 1, { condition: error.condition })
      throw error
    }
  })
  return { go: 'delivered', to: [{ jid: stanza.to }] }
}
