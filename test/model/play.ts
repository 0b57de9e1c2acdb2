/** Plays random histories until one breaks the promise, and prints the shortest that does. `npm run test:model [STEPS [SEED]]` */
import fc from 'fast-check'
import { KINDS, World } from './world.js'

const LENGTH = 100
const [steps = 1_000_000, seed] = process.argv.slice(2).map(Number)

const step = fc.record({ kind: fc.constantFrom(...KINDS), phone: fc.nat(3), minutes: fc.integer({ min: 1, max: 20 }) })
let played = 0

const outcome = await fc.check(fc.asyncProperty(fc.array(step, { maxLength: 2 * LENGTH, size: 'max' }), async history => {
  const world = await World.begin()
  for (const one of history) await world.play(one)
  await world.end()
  played += history.length
}), { numRuns: Math.ceil(steps / LENGTH), ...seed === undefined ? {} : { seed } })

if (outcome.failed) {
  console.log(`seed ${outcome.seed}: ${String(outcome.errorInstance)}`)
  for (const { kind, phone, minutes } of outcome.counterexample?.[0] ?? []) console.log(`  ${kind} ${kind === 'pass' ? `${minutes}m` : phone}`)
  process.exit(1)
}
console.log(`${played} steps, seed ${outcome.seed}: every promise was kept`)
process.exit(0)
