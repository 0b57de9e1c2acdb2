/** The resolver for the imports of modules outside the package. */
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { initialize, resolve } from '../../lib/host/outside-hooks.js'
import { temporaryFolder } from '../temporary-folder.js'

t.test('imports of outside modules are resolved and checked, and all others are left alone', async t => {
  const folder = temporaryFolder(t, { 'entry.mjs': '', 'part.mjs': '', 'open.mjs': '' })
  const [entry, part, open] = ['entry.mjs', 'part.mjs', 'open.mjs'].map(name => pathToFileURL(join(folder, name)).href)
  chmodSync(join(folder, 'open.mjs'), 0o666)
  for (const name of ['entry.mjs', 'part.mjs']) chmodSync(join(folder, name), 0o644)
  chmodSync(folder, 0o755)
  initialize([entry ?? ''])
  const next = (specifier: string): { readonly url: string } => ({ url: specifier })

  t.same(resolve('sestina', { parentURL: part }, next), { url: 'sestina' }, 'not an outside module yet')
  const own = await resolve('sestina', { parentURL: entry }, next)
  t.match(own.url, /lib\/api\.[jt]s$/)
  t.same(resolve('node:fs', { parentURL: entry }, next), { url: 'node:fs' })
  t.same(await resolve(part ?? '', { parentURL: entry }, async specifier => next(specifier)), { url: part })
  t.match((await resolve('sestina', { parentURL: part }, next)).url, /lib\/api\.[jt]s$/, 'an imported file is one of the module')
  t.throws(() => resolve(open ?? '', { parentURL: entry }, next), /other users may write/)
  t.same(resolve(part ?? '', {}, next), { url: part })
})
