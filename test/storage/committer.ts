/** A process that commits and says which commits it has seen stored: for tests that kill it, or watch what it asks of the system. */
import { writeSync } from 'node:fs'
import { silent } from '../../lib/base/logger.js'
import { openStorage } from '../../lib/storage/open.js'
import { journal, records } from '../../lib/storage/store.js'

const [folder, durability, most] = process.argv.slice(2)
const storage = await openStorage({ driver: 'sqlite', folder: folder ?? '', durability: durability === 'os' ? 'os' : 'disk', log: silent })
const counters = await storage.open('test.counters', records<number>(1))
const entries = await storage.open('test.entries', journal<number>(1))

/** One batch of two writes; one number on standard output once it is stored. */
function commit (n: number): Promise<void> {
  const number = storage.submit([counters.putting('a', `${n}`, n), entries.appending('a', { id: `${n}`, at: n, with: 'b', value: n })])
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
  // several a turn, and more before the first have settled: it is always in the middle of something
  let n = 0
  for (;;) {
    const first = commit(++n)
    for (let more = 0; more < 5; more++) void commit(++n)
    await new Promise(resolve => { setImmediate(resolve) })
    void commit(++n)
    await first
  }
}
