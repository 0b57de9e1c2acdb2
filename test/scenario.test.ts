/** A scene that fails shows its author why. */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { PACKAGE_ROOT } from '../lib/base/package.js'
import { Program } from './interop/process.js'
import { temporaryFolder } from './temporary-folder.js'

const built = (path: string): string => JSON.stringify(pathToFileURL(join(PACKAGE_ROOT, 'dist', path)).href)

/** A scene for a module whose handler throws; the reply to its request is an error without a text. */
const sceneWith = (assertion: string): string => `import test from 'node:test'
import { defineModule, xml } from ${built('lib/api.js')}
import { scenario } from ${built('test/scenario.js')}

const parrot = defineModule({
  name: 'parrot',
  about: 'Repeats.',
  setup (host) { host.iq.get('host', 'urn:example:parrot', 'parrot', () => xml('parrot', {}, missing.text)) },
})

test('the parrot repeats', async t => {
  const s = await scenario(t, { modules: [parrot] })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const reply = await juliet.asks("<iq type='get' to='capulet.lit' id='p'><parrot xmlns='urn:example:parrot'/></iq>")
  ${assertion}
})
`

t.test('the errors that the server logged are shown with their stacks, also if an assertion has failed before', async t => {
  for (const assertion of ["t.assert.equal(reply.getChildText('parrot'), 'AGAIN?')", "t.assert.equal(reply.attrs.type, 'error')"]) {
    const file = join(temporaryFolder(t, { 'parrot.test.mjs': sceneWith(assertion) }), 'parrot.test.mjs')
    const program = new Program(process.execPath, ['--test-reporter=tap', '--test', file], { input: '', env: { NODE_OPTIONS: '' } })
    t.equal(await program.ended, 1)
    t.match(program.said, /something failed unforeseen: .*missing is not defined[^]*\n.* at .*parrot\.test\.mjs:8:\d+/)
  }
})
