/**
 * Plays random histories until one breaks a promise, and prints the shortest that does. `npm run test:model [STEPS
 * [SEED]]`
 */
import { randomInt } from 'node:crypto'
import fc from 'fast-check'
import { World, WORLDS, type WorldName } from './world.js'

const LENGTH = 100
const [steps = 1_000_000, seed = randomInt(2 ** 31)] = process.argv.slice(2).map(Number)
interface Step { readonly kind: string, readonly phone: number, readonly minutes: number }
/** The history that is being played, and the current step. */
let current: { readonly name: WorldName, readonly steps: readonly Step[] } | undefined
let at = 0

// Runs if Node has nothing left to do, although something still waits.
process.once('beforeExit', () => {
  console.log(`seed ${seed}, in the world of ${String(current?.name)}: stuck at step ${at}`)
  for (const { kind, phone, minutes } of current?.steps.slice(0, at + 1) ?? []) console.log(`  ${kind} ${phone} ${minutes}m`)
  process.exit(1)
})

const historyIn = (name: WorldName) => fc.record({
  name: fc.constant(name),
  steps: fc.array(fc.record({
    kind: fc.constantFrom(...WORLDS[name].kinds), phone: fc.nat(3), minutes: fc.integer({ min: 1, max: 20 }),
  }), { maxLength: 2 * LENGTH, size: 'max' }),
})
const played = { sessions: 0, archive: 0 }

const outcome = await fc.check(fc.asyncProperty(fc.oneof(historyIn('sessions'), historyIn('archive')), async ({ name, steps }) => {
  current = { name, steps }
  const world = await World.begin(name)
  for (const [index, step] of steps.entries()) {
    at = index
    await world.play(step)
  }
  at = steps.length
  await world.end()
  played[name] += steps.length
}), { numRuns: Math.ceil(steps / LENGTH), seed })

if (outcome.failed) {
  const [history] = outcome.counterexample ?? []
  console.log(`seed ${outcome.seed}, in the world of ${String(history?.name)}: ${String(outcome.errorInstance)}`)
  for (const { kind, phone, minutes } of history?.steps ?? []) console.log(`  ${kind} ${kind === 'pass' ? `${minutes}m` : phone}`)
  process.exit(1)
}
console.log(`${played.sessions + played.archive} steps, ${played.archive} of them with an archive, seed ${outcome.seed}: every promise was kept`)
process.exit(0)
