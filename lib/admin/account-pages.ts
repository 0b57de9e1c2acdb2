/** Reads the accounts of a host page by page, so that a host with many accounts is never in memory as a whole. */
import type { AccountEntry } from '../auth/accounts.js'
import type { Host } from '../host/host.js'

/** Yields the accounts of a host in order of their names, at most `limit` at a time. */
export async function * pagesOf ({ accounts }: Host, limit: number): AsyncGenerator<readonly AccountEntry[]> {
  for (let after: string | undefined; ;) {
    const page = await accounts.list({ limit, ...after === undefined ? {} : { after } })
    yield page
    after = page.at(-1)?.account.local
    if (page.length < limit || after === undefined) return
  }
}
