/** New rooms (XEP-0045 §10.1). */
import type { Jid, Write } from '../../lib/api.js'
import { Relays } from './relays.js'
import { Room } from './room.js'
import type { MucService } from './service.js'
import { belongingWrite, roomWrite } from './stored.js'

/** Makes a room that is locked and stored nowhere. `who`: the bare address of its owner. */
export function makeRoom (service: MucService, address: Jid, who: string): Room {
  const { ids } = service.host
  const room = new Room({
    address, config: service.defaults, subject: { text: '', nick: '', at: 0 }, creator: who, salt: ids.next() + ids.next(),
    isLocked: true, history: service.newHistory(), relays: new Relays(),
  })
  room.belong(who, { affiliation: 'owner', nick: '', reason: '' })
  return room
}

/** Returns what stores a new room and those who belong to it. */
export function newRoomWrites ({ stores }: MucService, room: Room): readonly Write[] {
  const belongings = [...room.belongings].map(([who, belonging]) => belongingWrite(stores, room, who, belonging))
  return [roomWrite(stores, room), ...belongings]
}
