/** Stopping a running server while it does something else. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Logger } from '../../lib/base/logger.js'
import { defineModule } from '../../lib/host/module.js'
import { start } from '../../lib/main.js'
import { temporaryFolder } from '../temporary-folder.js'

const quiet: Logger = { isDebugging: false, debug () {}, info () {}, warn () {}, error () {}, with: () => quiet }
const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })
/** The number of turns of the event loop within which a stop ends that waits for nothing. */
const TURNS = 200

void t.test('a stop waits for a reload in progress and ends the hosts that it started; no other reload begins', async t => {
  const events: string[] = []
  let finish = (): void => {}
  const slow = defineModule({
    name: 'slow',
    setup: async host => {
      events.push(`${host.domain} is set up`)
      host.defer(() => { events.push(`${host.domain} is given back`) })
      if (host.domain === 'new.test') await new Promise<void>(resolve => { finish = resolve })
    },
  })
  const file = join(temporaryFolder(t), 'sestina.toml')
  const write = (hosts: string): void => { writeFileSync(file, `data = "data"\n[storage]\ndriver = "memory"\n[modules]\nslow = true\n${hosts}`) }
  write('[host."old.test"]')
  const running = await start({ file, modules: new Map([['slow', slow]]), log: quiet, env: () => undefined, quiet: true })
  write('[host."old.test"]\n[host."new.test"]')
  const reload = running.reload()
  while (!events.includes('new.test is set up')) await turn()
  const stopped = running.stop().then(() => { events.push('stopped') })
  for (let n = 0; n < TURNS; n++) await turn()
  t.same(events, ['old.test is set up', 'new.test is set up'])
  const late = running.reload()
  finish()
  await reload
  await t.rejects(late, { message: 'the server is stopping' })
  await stopped
  t.same(events.slice(2), ['old.test is given back', 'new.test is given back', 'stopped'])
})
