/** Sends floods over a stream. */
import { setTimeout as rest } from 'node:timers/promises'
import type { RawClient } from './peer.js'

/** The most bytes that are sent before what was sent has been taken. */
const UNREAD = 256 * 1024

/** Sends a flood, as fast as it is read. Throws if the stream ends. */
export async function floods (peer: RawClient, count: number, stanza: (n: number) => string): Promise<void> {
  for (let n = 0; n < count;) {
    if (peer.isClosed) throw new Error(`the flood was ended: ${peer.error}`)
    if (peer.socket.writableLength < UNREAD) {
      const end = Math.min(count, n + 200)
      let text = ''
      for (; n < end; n++) text += stanza(n)
      peer.says(text)
    } else await rest(1)
  }
}
