/** A disk that is really full: a file system of eight megabytes in a mount namespace of the server. */
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { RawClient } from './peer.js'
import { DOMAIN, ServerProcess } from './server.js'
import { temporaryFolder } from '../temporary-folder.js'

const mayMount = spawnSync('unshare', ['--mount', 'sh', '-c', 'mount -t tmpfs -o size=1m tmpfs /tmp']).status === 0
const why = mayMount ? false : 'nothing may be mounted here: run as root'
/** The bytes that are taken before the server starts, so that the rest fills quickly. */
const BALLAST = 4_000_000
const BODY = 'x'.repeat(20_000)

void t.test('on a full disk removals are stored, no message comes twice, and they make room again', { skip: why, timeout: 1_200_000 }, async t => {
  const folder = temporaryFolder(t)
  const data = join(folder, 'data')
  mkdirSync(data)
  const script = `mount -t tmpfs -o size=8m tmpfs "$0" && head -c ${BALLAST} /dev/zero > "$0/ballast" && exec "$@"`
  const server = await ServerProcess.start(t, {
    folder, storage: 'sqlite', durability: 'os', under: ['unshare', '--mount', 'sh', '-c', script, data],
    modules: ['presence', 'message', 'roster', 'offline = { keep = 100000, bytes = "64MiB" }'],
    listener: 'rate = "1GiB/s"', limits: '{ sessionStanzasPerSecond = 100000, addressStanzasPerSecond = 1000000, strangerMessagesPerMinute = 1000000 }',
  })
  await server.account('romeo')
  await server.account('juliet')
  const romeo = await (await RawClient.at(server.ports.none)).comes('romeo', 'orchard')

  /**
   * Sends one message, and returns whether it was stored. Its error arrives right after the answer to the first request
   * that follows it.
   */
  const stored = async (id: string): Promise<boolean> => {
    romeo.says(`<message to='juliet@${DOMAIN}' type='chat' id='${id}'><body>${BODY}</body></message>`)
    let heard = ''
    for (const behind of ['first', 'second']) {
      romeo.says(`<iq type='get' id='${behind}-${id}-' to='${DOMAIN}'><query xmlns='x:y'/></iq>`)
      heard += await romeo.gets(`${behind}-${id}-`)
    }
    return !/<message [^>]*type=['"]error/.test(heard)
  }
  /** Returns the ids of the messages that a device gets when it becomes available. */
  const came = async (resource: string): Promise<readonly string[]> => {
    const juliet = await (await RawClient.at(server.ports.none)).comes('juliet', resource)
    juliet.heard = ''
    juliet.says(`<presence/><iq type='get' id='here' to='${DOMAIN}'><query xmlns='x:y'/></iq>`)
    let all = await juliet.gets('here')
    // A message that arrives meanwhile is sent after all stored ones.
    romeo.says(`<message to='juliet@${DOMAIN}' type='chat' id='mark-${resource}'><body>now</body></message>`)
    all += await juliet.gets(`mark-${resource}`)
    const ids = [...all.matchAll(/<message [^>]*id=['"](m-\d+)['"]/g)].map(([, id = '']) => id)
    juliet.drops()
    await server.quiet(1)
    return ids
  }

  const sent: string[] = []
  let round = 0
  const fill = async (): Promise<number> => {
    let count = 0
    // The disk counts as full after three refusals, because a refusal may free the write-ahead log.
    for (let refused = 0; refused < 3 && count < 1000;) {
      const id = `m-${round++}`
      if (!await stored(id)) {
        refused++
        continue
      }
      refused = 0
      count++
      sent.push(id)
    }
    return count
  }
  t.ok(await fill() > 10, 'messages were stored')
  t.comment(`${sent.length} messages fill the disk`)
  const first = await came('first')
  t.strictSame(first, sent, 'every stored message arrives, in order')
  t.strictSame(await came('second'), [], 'every message arrives once')

  sent.length = 0
  const again = await fill()
  t.comment(`${first.length} messages, and ${again} once they were removed`)
  t.ok(again > first.length / 2, 'the removed messages make room')
  t.strictSame(await came('third'), sent)
  t.strictSame(await came('fourth'), [])
  romeo.drops()
})
