/**
 * Plays random histories of nodes until the server and the plain model disagree, and prints the shortest that does.
 * `npm run test:model-nodes [STEPS [SEED]]`
 */
import { randomInt } from 'node:crypto'
import fc from 'fast-check'
import { KINDS, type Kind } from './nodes.js'
import { NodesWorld, STEPS, type Step } from './nodes-world.js'

const LENGTH = 100
const [steps = 100_000, seed = randomInt(2 ** 31)] = process.argv.slice(2).map(Number)
const played: Record<Kind, number> = { 'domain': 0, 'hiding domain': 0, 'account': 0 }

// The first user does more than others: on the address of an account, that is the owner of all nodes.
const history = fc.record({
  kind: fc.constantFrom(...KINDS),
  steps: fc.array(fc.record({
    kind: fc.constantFrom(...STEPS), node: fc.nat(2), user: fc.constantFrom(0, 0, 0, 1, 2, 3), other: fc.nat(3),
    pick: fc.nat(10_000),
  }), { maxLength: 2 * LENGTH, size: 'max' }),
})

interface History { readonly kind: Kind, readonly steps: readonly Step[] }

const outcome = await fc.check(fc.asyncProperty(history, async ({ kind, steps }: History) => {
  const world = await NodesWorld.begin(kind)
  for (const step of steps) await world.play(step)
  await world.end()
  played[kind] += steps.length
}), { numRuns: Math.ceil(steps / LENGTH), seed })

if (outcome.failed) {
  const [history] = outcome.counterexample ?? []
  console.log(`seed ${outcome.seed}, at the kind ${String(history?.kind)}: ${String(outcome.errorInstance)}`)
  for (const { kind, node, user, other, pick } of history?.steps ?? []) console.log(`  ${kind}: node ${node}, user ${user}, other ${other}, pick ${pick}`)
  process.exit(1)
}
const counts = Object.entries(played).map(([kind, count]) => `${count} at a ${kind}`)
console.log(`${Object.values(played).reduce((sum, count) => sum + count, 0)} steps (${counts.join(', ')}), seed ${outcome.seed}: server and model agree`)
process.exit(0)
