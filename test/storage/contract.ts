/** The promises of every storage driver (lib/storage/store.ts), as tests that each driver runs. */
import type { Test } from 'tap'
import type { Storage } from '../../lib/storage/storage.js'
import { commitPromises } from './commit-contract.js'
import { hostPromises } from './host-contract.js'
import { journalPromises } from './journal-contract.js'
import { logPromises } from './log-contract.js'
import { recordPromises } from './record-contract.js'
import { tablePromises } from './table-contract.js'

type Opener = (t: Test) => Promise<Storage>

/** Runs all tests on the storage that `open` opens empty for each test. */
export function contract (t: Test, open: Opener): void {
  recordPromises(t, open)
  journalPromises(t, open)
  commitPromises(t, open)
  hostPromises(t, open)
  tablePromises(t, open)
  logPromises(t, open)
}
