/** What the parser refuses and what it takes, whole and in pieces; the oracle is saxes. */
import t from 'tap'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { HEADER, parse, pieces, random, shown } from './reading.js'

const FOLDER = join(PACKAGE_ROOT, 'test/xml/cases')

t.test('each hostile file gets its condition, and each good one passes, however it is cut', async t => {
  const files = readdirSync(FOLDER).filter(name => name.endsWith('.xml'))
  t.ok(files.length > 60, 'the corpus is there')
  const next = random(11)
  for (const file of files) {
    const wanted = file.split('.').at(-2)
    const bytes = readFileSync(join(FOLDER, file))
    for (const cut of [[bytes], pieces(bytes, () => 1), pieces(bytes, () => 1 + Math.floor(next() * 9)), pieces(bytes, () => 1 + Math.floor(next() * 60))]) {
      const { outcome } = parse(cut)
      t.equal(outcome, wanted, `${file} in ${cut.length} pieces`)
    }
  }
})
