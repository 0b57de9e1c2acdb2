/** Plays random histories until one breaks the promise, and prints the shortest that does. `npm run test:model [STEPS [SEED]]` */
import fc from 'fast-check'
import { World, WORLDS, type WorldName } from './world.js'

const LENGTH = 100
const [steps = 1_000_000, seed] = process.argv.slice(2).map(Number)

const historyIn = (name: WorldName) => fc.record({
  name: fc.constant(name),
  steps: fc.array(fc.record({ kind: fc.constantFrom(...WORLDS[name].kinds), phone: fc.nat(3), minutes: fc.integer({ min: 1, max: 20 }) }),
    { maxLength: 2 * LENGTH, size: 'max' }),
})
const played = { sessions: 0, archive: 0 }

const outcome = await fc.check(fc.asyncProperty(fc.oneof(historyIn('sessions'), historyIn('archive')), async ({ name, steps }) => {
  const world = await World.begin(name)
  for (const step of steps) await world.play(step)
  await world.end()
  played[name] += steps.length
}), { numRuns: Math.ceil(steps / LENGTH), ...seed === undefined ? {} : { seed } })

if (outcome.failed) {
  const [history] = outcome.counterexample ?? []
  console.log(`seed ${outcome.seed}, in the world of ${String(history?.name)}: ${String(outcome.errorInstance)}`)
  for (const { kind, phone, minutes } of history?.steps ?? []) console.log(`  ${kind} ${kind === 'pass' ? `${minutes}m` : phone}`)
  process.exit(1)
}
console.log(`${played.sessions + played.archive} steps, ${played.archive} of them with an archive, seed ${outcome.seed}: every promise was kept`)
process.exit(0)
