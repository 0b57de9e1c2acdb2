/** Changes that belong to no stanza. */
import type { Batch } from '../storage/store.js'

/** Runs `work` with a batch of its own, and stores it. Rejects with what `work` throws; then nothing is stored. */
export async function apart (
  host: { batch (): Batch & { commit (): Promise<void> } }, work: (batch: Batch) => Promise<void>,
): Promise<void> {
  const batch = host.batch()
  try {
    await work(batch)
  } catch (error) {
    // A batch that is never committed would keep what waits for it; one that fails releases it.
    batch.submitting(() => { throw error })
  }
  await batch.commit()
}
