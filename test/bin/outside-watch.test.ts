/** `npm run dev` notices changes of the conf file and of modules outside the package. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import t, { type Test } from 'tap'
import { OutsideWatch } from '../../bin/outside-watch.js'
import { temporaryFolder } from '../temporary-folder.js'

interface Watched {
  readonly folder: string
  readonly write: (path: string, text: string) => void
  /** Makes a change, and waits until this path is reported. Returns all paths that are reported with it. */
  readonly reported: (path: string, change: () => void) => Promise<readonly string[]>
}

async function watched (t: Test, conf: string): Promise<Watched> {
  const folder = temporaryFolder(t, { 'sestina.toml': conf, 'own': { 'dice.mjs': '1', 'node_modules': { 'a.js': '1' } }, 'more': { 'coin.mjs': '1' } })
  let heard = (_paths: readonly string[]): void => {}
  const watch = new OutsideWatch(join(folder, 'sestina.toml'), {
    changed: paths => { heard(paths.map(path => relative(folder, path))) },
    failed: error => { throw error },
  })
  await watch.open()
  t.teardown(() => watch.close())
  return {
    folder,
    write: (path, text) => { writeFileSync(join(folder, path), text) },
    reported: (path, change) => new Promise(resolve => {
      heard = paths => { if (paths.includes(path)) resolve(paths) }
      change()
    }),
  }
}

const BOTH = '[modules]\npath = ["own", "more"]\n'

t.test('a change of code in a folder of modules.path is reported, also of a new file and in a new folder', async t => {
  const { folder, write, reported } = await watched(t, BOTH)
  await reported('own/dice.mjs', () => { write('own/dice.mjs', '2') })
  await reported('more/cube.js', () => { write('more/cube.js', '1') })
  await reported('own/part/part.mjs', () => { mkdirSync(join(folder, 'own/part')); write('own/part/part.mjs', '1') })
  await reported('own/dice.mjs', () => { rmSync(join(folder, 'own/dice.mjs')) })
})

t.test('a change of the conf file is reported, and the folders that it names then are watched', async t => {
  const { write, reported } = await watched(t, '[modules]\npath = ["own"]\n')
  await reported('sestina.toml', () => { write('sestina.toml', BOTH) })
  await reported('more/coin.mjs', () => { write('more/coin.mjs', '2') })
  await reported('sestina.toml', () => { write('sestina.toml', 'path = [') })
  await reported('own/dice.mjs', () => { write('own/dice.mjs', '2') })
  await reported('sestina.toml', () => { write('sestina.toml', BOTH) })
})

t.test('a change of an included conf file is reported', async t => {
  const { write, reported } = await watched(t, BOTH)
  write('other.toml', '')
  await reported('sestina.toml', () => { write('sestina.toml', 'include = ["other.toml"]\n') })
  await reported('other.toml', () => { write('other.toml', '[limits]\n') })
})

t.test('a change of an installed package, of a source or of a hidden file is not reported', async t => {
  const { write, reported } = await watched(t, BOTH)
  const paths = await reported('own/dice.mjs', () => {
    for (const path of ['own/node_modules/a.js', 'own/dice.ts', 'own/.hidden.mjs', 'own/dice.mjs']) write(path, '2')
  })
  t.strictSame(paths, ['own/dice.mjs'])
})
