import t from 'tap'
import { linesOf } from '../../lib/base/lines.js'

async function read (chunks: readonly string[], most = 100): Promise<readonly string[]> {
  const found: string[] = []
  const pieces = async function * (): AsyncGenerator<Buffer> { for (const chunk of chunks) yield await Promise.resolve(Buffer.from(chunk, 'latin1')) }
  for await (const line of linesOf(pieces(), most)) found.push(line)
  return found
}

t.test('lines are the same wherever the text is cut', async t => {
  const text = Buffer.from('one\n\n-ö-\nthree').toString('latin1')
  for (let at = 0; at <= text.length; at++) t.same(await read([text.slice(0, at), text.slice(at)]), ['one', '', '-ö-', 'three'])
  t.same(await read(['a\n']), ['a'], 'what is empty after the last newline is no line')
  t.same(await read([]), [])
})

t.test('a line that is too long ends the reading, before it is in memory', async t => {
  t.same(await read(['abc\n'], 3), ['abc'])
  await t.rejects(read(['ab', 'cd'], 3), RangeError)
})
