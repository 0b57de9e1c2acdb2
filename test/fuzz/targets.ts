/** All that `npm run fuzz` tries. Who adds a target adds it here. */
import { conf, imported } from './files.js'
import { play } from './forwarded.js'
import { router } from './router.js'
import { sasl } from './sasl.js'
import type { Target } from './target.js'
import { forms, jid, paging } from './values.js'

const forwarded: Target = {
  about: 'a forwarded stanza is read as one element that says what was said, on every stream',
  run: (cases, seed = 1) => {
    play(seed, cases)
    return Promise.resolve()
  },
}

/** By name; `quick`: cases of the short run, which is part of the tests. */
export const TARGETS: Readonly<Record<string, { readonly target: Target, readonly quick: number, readonly long: number }>> = {
  forwarded: { target: forwarded, quick: 1000, long: 2_000_000 },
  jid: { target: jid, quick: 3000, long: 500_000 },
  forms: { target: forms, quick: 3000, long: 200_000 },
  paging: { target: paging, quick: 2000, long: 200_000 },
  sasl: { target: sasl, quick: 300, long: 20_000 },
  conf: { target: conf, quick: 400, long: 50_000 },
  import: { target: imported, quick: 150, long: 10_000 },
  router: { target: router, quick: 30, long: 5000 },
}
