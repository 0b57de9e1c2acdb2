/** Acknowledged data is on the disk, as system calls show; and a start with many accounts is quick. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Accounts, accountsShape, indexShape, secretShape, type Account } from '../../lib/auth/accounts.js'
import { systemClock } from '../../lib/base/clock.js'
import { silent } from '../../lib/base/logger.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { openStorage } from '../../lib/storage/open.js'
import { RawClient } from './peer.js'
import { DOMAIN, ServerProcess } from './server.js'
import { staysBelow } from './turns.js'
import { temporaryFolder } from '../temporary-folder.js'

const STRACE = 'strace'
const why = spawnSync(STRACE, ['-f', '-o', '/dev/null', 'true']).status === 0 ? false : 'strace is missing or may not trace: apt install strace'

/** One relevant system call: its kind, and its line in the trace. */
interface Call { readonly what: 'row' | 'sync' | 'ack', readonly line: string }

/** Returns the relevant calls in order. Rows are written to the write-ahead log; answers to a client go to a socket. */
function callsIn (trace: string, mark: string): Call[] {
  const calls: Call[] = []
  for (const line of trace.split('\n')) {
    if (/p?write\w*\(\d+<[^>]*-wal>/.test(line)) calls.push({ what: 'row', line })
    else if (/f(?:data)?sync(?:\(\d+<[^>]*-wal>| resumed)/.test(line) && line.includes('= 0')) calls.push({ what: 'sync', line })
    else if (/(?:write\w*|send\w*)\(\d+<(?:TCP|socket)/.test(line) && line.includes(mark)) calls.push({ what: 'ack', line })
  }
  return calls
}

async function traced (t: Test, durability: 'disk' | 'os'): Promise<readonly Call[]> {
  const folder = temporaryFolder(t)
  const out = join(folder, 'trace')
  const under = [STRACE, '-f', '-yy', '-s', '400', '-e', 'trace=write,writev,pwrite64,pwritev,sendto,sendmsg,fsync,fdatasync', '-o', out]
  const server = await ServerProcess.start(t, { under, folder, storage: 'sqlite', durability })
  await server.account('romeo')
  const romeo = await (await RawClient.at(server.ports.none)).comes('romeo', 'orchard')
  for (let n = 0; n < 5; n++) {
    romeo.says(`<iq type='set' id='mark-${n}'><query xmlns='jabber:iq:private'><n xmlns='a:b'>note ${n}</n></query></iq>`)
    await romeo.gets(`mark-${n}`)
  }
  romeo.drops()
  await server.stop()
  return callsIn(readFileSync(out, 'utf8'), 'mark-')
}

void t.test('with durability "disk", each answer comes after a sync, and the sync after the rows', { skip: why, timeout: 1_200_000 }, async t => {
  const calls = await traced(t, 'disk')
  const acks = calls.flatMap((call, index) => call.what === 'ack' ? [index] : [])
  t.equal(acks.length, 5, 'the trace shows the answers')
  for (const [n, ack] of acks.entries()) {
    const between = calls.slice(n === 0 ? 0 : acks[n - 1], ack)
    const row = between.findLastIndex(call => call.what === 'row')
    const sync = between.findLastIndex(call => call.what === 'sync')
    t.ok(row >= 0, `rows are written before answer ${n}`)
    t.ok(sync > row, `a sync follows: ${between.map(call => call.what).join(' ')}`)
  }
})

void t.test('with durability "os", rows are written before an answer, without a sync', { skip: why, timeout: 1_200_000 }, async t => {
  const calls = await traced(t, 'os')
  const first = calls.findIndex(call => call.what === 'ack')
  const last = calls.findLastIndex(call => call.what === 'ack')
  t.ok(first >= 0 && last > first, 'the trace shows the answers')
  t.ok(calls.slice(0, first).some(call => call.what === 'row'))
  t.same(calls.slice(first, last).filter(call => call.what === 'sync').map(call => call.line), [], 'no sync')
})

void t.test('a server with ten thousand accounts starts with as little work as one with none', { timeout: 1_200_000 }, async t => {
  const started = async (accounts: number): Promise<number> => {
    const folder = temporaryFolder(t)
    if (accounts > 0) await fill(join(folder, 'data'), accounts)
    const server = await ServerProcess.start(t, { folder, storage: 'sqlite' })
    const { started } = await server.report()
    if (accounts > 0) {
      const peer = await (await RawClient.at(server.ports.none)).comes(`u${accounts - 1}`, 'x')
      peer.drops()
    }
    await server.stop()
    return started
  }
  await started(0)
  let [none, many] = [Infinity, Infinity]
  await staysBelow(t, 2, async () => {
    none = Math.min(none, await started(0))
    many = Math.min(many, await started(10_000))
    return many / none
  }, growth => `with 10,000 accounts, a start uses ${growth.toFixed(1)} times the CPU time: ${none.toFixed(0)} and ${many.toFixed(0)} ms`)
})

/** Creates accounts that share one password and its keys, because deriving ten thousand keys would take a minute. */
async function fill (folder: string, count: number): Promise<void> {
  const storage = await openStorage({ driver: 'sqlite', folder, durability: 'os', log: silent })
  const records = await storage.open('accounts', accountsShape)
  const secrets = await storage.open('accounts.secret', secretShape)
  const index = await storage.open('accounts.index', indexShape)
  const accounts = await Accounts.open({
    domain: DOMAIN, clock: systemClock, records, secrets, index, iterations: 4096,
  })
  await accounts.create(parseJid(`u0@${DOMAIN}`), 'a secret')
  const account = await records.get(DOMAIN, 'u0') as Account
  const numbers = Array.from({ length: count }, (_, n) => storage.submit([records.putting(DOMAIN, `u${n}`, account)]))
  await new Promise<void>((resolve, reject) => {
    storage.after(numbers.at(-1) ?? 0, error => { if (error === undefined) resolve(); else reject(error) })
  })
  await storage.close()
  t.ok(existsSync(folder))
}
