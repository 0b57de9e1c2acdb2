/** A short run of each target of `npm run fuzz`, with the same cases in each run. */
import t from 'tap'
import { TARGETS } from './targets.js'

t.setTimeout(1_200_000)

for (const [name, { target, quick }] of Object.entries(TARGETS)) {
  if (name === 'forwarded') continue // it has a test of its own
  t.test(`${name}: ${target.about}`, async t => {
    await target.run(quick, 12)
    t.pass(`${quick} cases`)
  })
}
