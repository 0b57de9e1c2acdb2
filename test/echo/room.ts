/** A service for tests: what is written to a room comes back to all who are in it. It is not part of the package. */
import {
  addressed, defineModule, discovery, entityArchives, entityKind, follow, jidOf, records, stanza, StanzaError, xml,
} from '../../lib/api.js'
import type { EntityArchive, EntityTable, Jid } from '../../lib/api.js'

export const ECHO = 'urn:example:echo:0'

/** `said` is stored when the room is unloaded; who is in the room is only in memory. */
interface Room { said: number, readonly occupants: Map<string, Jid> }

export const rooms = entityKind<Room>('echo room')

export default defineModule({
  name: 'echo',
  about: 'Sends what is written to a room to all who are in it.',
  at: 'services',
  requires: ['disco'],
  after: ['mam'],
  stores: { rooms: records<{ readonly said: number }>(1) },

  setup (host) {
    const { rooms: stored } = host.stores
    host.whileUp(() => host.use(discovery).identity({ category: 'conference', type: 'text', name: 'Echo' }))

    const table: EntityTable<Room> = host.entities(rooms, {
      async load (address, { stanza, batch }) {
        const known = await stored.get(address.toString(), 'room')
        if (known !== undefined) return { said: known.said, occupants: new Map<string, Jid>() }
        if (stanza?.kind !== 'presence' || stanza.type !== 'available') return undefined
        batch.add(stored.putting(address.toString(), 'room', { said: 0 }))
        batch.failed(() => { table.forget(address) })
        return { said: 0, occupants: new Map<string, Jid>() }
      },
      save ({ said }, address, batch) { batch.add(stored.putting(address.toString(), 'room', { said })) },
      bytes: ({ occupants }) => 200 + 200 * occupants.size,
      isBusy: ({ occupants }) => occupants.size > 0,

      presence ({ occupants }, { stanza: { type, from } }) {
        if (type === 'available') occupants.set(from.toString(), from)
        else if (type === 'unavailable' || type === 'error') occupants.delete(from.toString())
      },
      message (room, { stanza: message, batch, payer }) {
        const { from, to, type } = message
        if (type === 'error') return
        if (!room.occupants.has(from.toString())) throw new StanzaError('not-acceptable', 'you are not in this room')
        room.said++
        payer?.charge(room.occupants.size, from)
        const echo = message.with({ from: jidOf(to.local, to.domain, from.resource) })
        const occupants = [...room.occupants.values()]
        return follow(archive?.add(to.bare, addressed(echo, to.bare), batch) ?? echo, said => {
          host.outlet(to.bare).broadcast(batch, said, occupants)
        })
      },
      iq (room, { stanza: { type, id, from, to } }) {
        const isHere = [...room.occupants.values()].some(({ resource }) => resource === to.resource)
        if (!isHere || id === undefined || type !== 'get') return undefined
        host.outlet(to.bare).send(stanza(xml('iq', { type: 'result', id }), to, from))
        return 'handled'
      },

      info: (room, node) => node === undefined
        ? { identities: [{ category: 'conference', type: 'text', name: 'A room' }], features: [ECHO, ...archive?.features ?? []] }
        : undefined,
      items: ({ occupants }, node) => node === undefined || node === 'occupants'
        ? [...occupants.values()].map(jid => ({ jid }))
        : undefined,
    })
    const archive: EntityArchive | undefined = host.find(entityArchives)?.serve(table, {
      read ({ occupants }, asker) { if (!occupants.has(asker.toString())) throw new StanzaError('forbidden') },
      change ({ occupants }, asker) { if (!occupants.has(asker.toString())) throw new StanzaError('forbidden') },
    })
    table.get(ECHO, 'said', ({ said }) => xml('said', { xmlns: ECHO, count: said }))
    table.set(ECHO, 'reset', (room, { batch, stanza: { to } }) => {
      batch.add(stored.putting(to.toString(), 'room', { said: 0 }))
      batch.committed(() => { room.said = 0 })
    })
    table.set(ECHO, 'destroy', (room, { batch, stanza: { to } }) => {
      batch.add(stored.putting(to.toString(), 'room', undefined))
      archive?.clear(to, batch)
      batch.committed(() => { table.forget(to) })
    })
  },
})
