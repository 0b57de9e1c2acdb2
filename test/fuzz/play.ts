/**
 * Tries the server with random input until a promise breaks, and prints the smallest case. `npm run fuzz [TARGET [CASES
 * [SEED]]]`
 */
import { TARGETS } from './targets.js'

const [wanted = 'all', cases, seed] = process.argv.slice(2)
const names = wanted === 'all' ? Object.keys(TARGETS) : [wanted]
let hasFailed = false
for (const name of names) {
  const found = Object.hasOwn(TARGETS, name) ? TARGETS[name] : undefined
  if (found === undefined) {
    console.error(`there is no target '${name}', but ${Object.keys(TARGETS).join(', ')}`)
    process.exit(2)
  }
  const { target, long } = found
  // A random seed, always printed, so that a run can be repeated.
  const chosen = seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(seed)
  const count = cases === undefined ? long : Number(cases)
  console.log(`${name}: ${target.about}; ${count} cases, seed ${chosen}`)
  try {
    await target.run(count, chosen)
    console.log(`${name}: held`)
  } catch (error) {
    hasFailed = true
    console.error(`${name}: BROKEN, seed ${chosen}\n${error instanceof Error ? error.stack ?? error.message : String(error)}`)
  }
}
process.exit(hasFailed ? 1 : 0)
