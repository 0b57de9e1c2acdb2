/** The modules of a host are exchanged at once, or not at all. */
import t from 'tap'
import { defineModule, xml } from '../../lib/api.js'
import type { Modules } from '../../lib/host/loader.js'
import type { AnyModule } from '../../lib/host/module.js'
import { scenario, type Scenario } from '../scenario.js'

const ASK = "<iq type='get' to='capulet.lit' id='a'><who xmlns='urn:example:who'/></iq>"

/** Returns a module that answers a request to the host with its name. */
function answering (name: string): AnyModule {
  return defineModule({
    name,
    about: 'Answers.',
    setup (host) { host.iq.get('host', 'urn:example:who', 'who', () => xml('who', { xmlns: 'urn:example:who' }, name)) },
  })
}

function modulesOf (s: Scenario): Modules {
  const modules = s.server.modules('capulet.lit')
  if (modules === undefined) throw new Error('no host')
  return modules
}

t.test('a module that registers what another has registered is refused by name, and all modules stay as they were', async t => {
  const [nurse, friar] = [answering('nurse'), answering('friar')]
  const s = await scenario(t, { modules: [nurse] })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const modules = modulesOf(s)
  const refusal = { name: 'SetupError', message: /^module 'friar' cannot be set up: Error: two handlers answer iq get who/ }
  for (const settings of [{}, { text: 'changed' }]) {
    await t.rejects(modules.load([{ module: nurse, settings }, { module: friar, settings: {} }]), refusal)
    t.strictSame(modules.names, ['nurse'])
    t.equal((await juliet.asks(ASK)).getChildText('who'), 'nurse')
  }
  await modules.load([{ module: friar, settings: {} }])
  t.equal((await juliet.asks(ASK)).getChildText('who'), 'friar')
})

t.test('an error in a setup names the module, and keeps the lines of the module in the stack', async t => {
  const tybalt = defineModule({ name: 'tybalt', about: 'Fails.', setup (): void { throw new TypeError('a plague') } })
  const s = await scenario(t)
  await s.account('juliet@capulet.lit')
  await t.rejects(modulesOf(s).load([{ module: tybalt, settings: {} }]), {
    message: /^module 'tybalt' cannot be set up: TypeError: a plague\n +at .*setup\.test\.[jt]s:\d+:\d+\)?$/,
  })
})
