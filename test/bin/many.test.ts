/** Creating many accounts from standard input, and lists for programs. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { farOf } from '../../bin/show.js'
import { Program } from '../interop/process.js'
import { SESTINA } from '../sestina.js'
import { temporaryFolder } from '../temporary-folder.js'

interface Said { readonly code: number | string, readonly said: string }

t.setTimeout(1_200_000)

t.test('many accounts are added from CSV at once, invalid lines are reported, and lists are plain lines', async t => {
  const folder = temporaryFolder(t)
  const conf = join(folder, 'sestina.toml')
  writeFileSync(conf, 'data = "data"\n[authentication]\niterations = 4096\n[host.localhost]\n')
  const sestina = async (input: string, ...words: readonly string[]): Promise<Said> => {
    const program = new Program(process.execPath, [SESTINA, ...words, '--conf', conf], { input })
    return { code: await program.ended, said: program.said }
  }
  const key = Buffer.alloc(32, 1).toString('base64')
  const keys = `SCRAM-SHA-256$4096:c2FsdA==$${key}:${key}`
  const many = Array.from({ length: 200 }, (_, n) => `keyed${n}@localhost,,${keys}\n`).join('')
  const list = `address,password\nromeo@localhost,wherefore-art-thou\r\n"juliet@localhost","with, a ""quote"""\n\ntybalt@localhost,short\n` +
    `romeo@localhost,wherefore-art-thou\nmercutio@elsewhere.lit,wherefore-art-thou\nparis@localhost,,SCRAM-SHA-256$1:x$y:z\n${many}`
  const added = await sestina(list, 'user', 'add', '--csv')
  t.equal(added.code, 65)
  t.match(added.said, /^added: 202\nproblems: 4\n/m)
  for (const line of [/^line 5: the password is too short/m, /^line [26]: romeo@localhost exists/m, /^line 7: mercutio@elsewhere\.lit is not an account of a host/m, /^line 8: /m]) {
    t.match(added.said, line)
  }
  t.notMatch(added.said, /wherefore/)
  t.match(await sestina('"open', 'user', 'add', '--csv'), { code: 1, said: /line 1: a cell with a quote/ })

  const found = await sestina('', 'user', 'list', '--search', 'keyed19', '--limit', '3')
  t.equal(found.said.split('\n').length, 4)
  for (const line of found.said.split('\n').slice(0, 3)) t.match(line, /^keyed19\d?@localhost\t\d{4}-[^\t]+\t$/)
  t.match(await sestina('', 'user', 'list', '--limit', 'x'), { code: 1, said: /--limit must be a number from 1 on/ })
  t.match(JSON.parse((await sestina('', 'user', 'show', 'keyed7@localhost', '--json')).said), { keys: ['SCRAM-SHA-256'], state: 'active' })
})

t.test('the progress of a long command includes the remaining time', async t => {
  t.equal(farOf({ kind: 'progress', done: 250, of: 1000, text: '250 accounts' }, 30_000), '25 %, 250 accounts, 1m 30s left')
  t.equal(farOf({ kind: 'progress', done: 0, of: 0, text: '20 accounts' }, 30_000), '20 accounts')
  t.equal(farOf({ kind: 'progress', done: 1000, of: 1000, text: '1000 accounts' }, 30_000), '100 %, 1000 accounts')
})
