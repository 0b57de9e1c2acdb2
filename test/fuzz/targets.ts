/** All targets of `npm run fuzz`. New targets are added here. */
import { conf, imported } from './files.js'
import { play } from './forwarded.js'
import { router } from './router.js'
import { sasl } from './sasl.js'
import type { Target } from './target.js'
import { forms, jid, paging } from './values.js'

const forwarded: Target = {
  about: 'a forwarded stanza is read on every stream as one element with the same meaning',
  run: (cases, seed = 1) => {
    play(seed, cases)
    return Promise.resolve()
  },
}

interface Tried { readonly target: Target, readonly quick: number, readonly long: number }

/** The targets by name; `quick`: the number of cases in the short run, which is part of the tests. */
export const TARGETS: Readonly<Record<string, Tried>> = {
  forwarded: { target: forwarded, quick: 1000, long: 2_000_000 },
  jid: { target: jid, quick: 3000, long: 500_000 },
  forms: { target: forms, quick: 3000, long: 200_000 },
  paging: { target: paging, quick: 2000, long: 200_000 },
  sasl: { target: sasl, quick: 300, long: 20_000 },
  conf: { target: conf, quick: 400, long: 50_000 },
  import: { target: imported, quick: 150, long: 10_000 },
  router: { target: router, quick: 30, long: 5000 },
}
