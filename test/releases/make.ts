/**
 * Saves the data folder of this release after a kill and after a stop, so that later builds can be tested against it:
 * `node dist/test/releases/make.js`. Once a release is out, its data is never made again.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { VERSION } from '../../lib/base/package.js'
import { FIXTURES, startAt } from './build.js'
import { dump } from './dump.js'
import { live } from './life.js'

/** The time within which sessions are saved, in milliseconds. */
const WRITTEN = 1000
const MODULES = [
  'roster', 'presence', 'message', 'carbons', 'offline', 'mam', 'stream-management', 'csi', 'disco', 'caps', 'blocking', 'private', 'vcard',
  'last-activity', 'version', 'time', 'ping', 'push', 'client-access-management',
]
const listener = (tls: string): string => `[[listen]]\nfor = "clients"\nport = 0\naddress = ["127.0.0.1"]\ntls = "${tls}"\n\n`
const CONF = `data = "data"\n\n${listener('none')}${listener('direct')}[modules]\n${MODULES.map(name => `${name} = true\n`).join('')}\n[host.localhost]\n`

const kept = join(FIXTURES, VERSION)
if (existsSync(kept)) throw new Error(`${VERSION} has saved its data already: ${kept}`)
const folder = mkdtempSync(join(tmpdir(), 'sestina-release-'))
try {
  writeFileSync(join(folder, 'sestina.toml'), CONF)
  const errors: string[] = []
  const left = Date.now()
  const running = await startAt(folder, left, errors)
  const facts = await live(running, VERSION, left)
  const database = join(folder, 'data', 'sestina.db')
  await new Promise(resolve => { setTimeout(resolve, 2 * WRITTEN) })
  const killed = dump(database)
  await running.stop()
  const stopped = dump(database)
  if (errors.length > 0) throw new Error(errors.join('\n'))
  mkdirSync(kept, { recursive: true })
  writeFileSync(join(kept, 'sestina.toml'), CONF)
  writeFileSync(join(kept, 'killed.sql'), killed)
  writeFileSync(join(kept, 'stopped.sql'), stopped)
  writeFileSync(join(kept, 'facts.json'), `${JSON.stringify(facts, undefined, 2)}\n`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
process.exit(0)
