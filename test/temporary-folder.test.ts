import { existsSync } from 'node:fs'
import t from 'tap'
import { temporaryFolder } from './temporary-folder.js'

t.test('a folder is there until the last teardown of its test has run, and then removed', async t => {
  let folder = ''
  let wasThere = false
  await t.test('a test with a folder', async t => {
    folder = temporaryFolder(t, { 'a.txt': '' })
    t.teardown(async () => {
      await new Promise(setImmediate)
      wasThere = existsSync(folder)
    })
  })
  t.ok(wasThere)
  t.notOk(existsSync(folder))
})
