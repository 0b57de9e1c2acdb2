/** A process that commits, and prints which commits are stored: for tests that kill it, or trace its system calls. */
import { writeSync } from 'node:fs'
import { silent } from '../../lib/base/logger.js'
import { openStorage } from '../../lib/storage/open.js'
import { log } from '../../lib/storage/log.js'
import { journal, records } from '../../lib/storage/store.js'

const [folder, durability, most] = process.argv.slice(2)
const storage = await openStorage({ driver: 'sqlite', folder: folder ?? '', durability: durability === 'os' ? 'os' : 'disk', log: silent })
const counters = await storage.open('test.counters', records<number>(1))
const entries = await storage.open('test.entries', journal<number>(1))

const queue = await storage.open('test.queue', log<{ readonly n: number, readonly text: string }>(1))
const text = 'x'.repeat(20_000)

/**
 * Commits one batch, and prints its number once it is stored. It appends to a log, and removes the entry of the eighth
 * batch before it, except every fifth: so most entries of a segment die, and the others move.
 */
function commit (n: number): Promise<void> {
  const number = storage.submit([
    counters.putting('a', `${n}`, n), entries.appending('a', { id: `${n}`, at: n, with: 'b', value: n }),
    queue.appending('a', n, { n, text }), queue.removing((n - 8) % 5 === 0 ? [] : [n - 8]),
  ])
  return new Promise(resolve => {
    storage.after(number, error => {
      if (error === undefined) writeSync(1, `acked ${n}\n`)
      resolve()
    })
  })
}

if (most !== undefined) {
  for (let n = 1; n <= Number(most); n++) await commit(n)
  writeSync(1, 'done\n')
  await storage.close()
} else {
  // several commits a turn, and more before the first are stored, so that a kill always comes in the middle of
  // something
  let n = 0
  for (;;) {
    const first = commit(++n)
    for (let more = 0; more < 5; more++) void commit(++n)
    await new Promise(resolve => { setImmediate(resolve) })
    void commit(++n)
    await first
  }
}
