/** `sestina mam ADDRESS [expire|keep VALUE|default]`: shows the size of an account's archive, and sets its limits. */
import { parseJid, readDuration, StanzaError, writeDuration } from '../../lib/api.js'
import type { Journal } from '../../lib/api.js'
import type { Limits, Retention } from './retention.js'

const USAGE = 'mam ADDRESS · mam ADDRESS expire 30d|default · mam ADDRESS keep 1000|default'

/**
 * Runs the command and returns the archive's size and limits. Throws JidError, UnitError or StanzaError for arguments
 * that cannot be read.
 */
export async function command (
  args: readonly string[], messages: Journal<string>, retention: Retention,
): Promise<unknown> {
  const [address, name, value] = args
  if (address === undefined || args.length === 2 || args.length > 3) throw new StanzaError('bad-request', USAGE)
  const owner = parseJid(address).bare.toString()
  const { expire, keep, ...others } = await retention.limitsOf(owner)
  if (name !== undefined && value !== undefined) {
    await retention.limit(owner, { ...others, ...defined({ expire, keep, [name]: read(name, value) }) })
  }
  const limits = await retention.limitsOf(owner)
  const { entries, bytes } = await messages.size(owner)
  return {
    account: owner, messages: entries, bytes,
    expire: limits.expire === undefined ? 'default' : writeDuration(limits.expire),
    keep: limits.keep ?? 'default',
  }
}

function read (name: string, value: string): number | undefined {
  if (name !== 'expire' && name !== 'keep') throw new StanzaError('bad-request', USAGE)
  if (value === 'default') return undefined
  if (name === 'expire') return readDuration(value)
  if (!/^[0-9]{1,9}$/.test(value)) throw new StanzaError('bad-request', `'${value}' is not a number of messages`)
  return Number(value)
}

function defined (limits: { readonly expire: number | undefined, readonly keep: number | undefined }): Limits {
  return {
    ...limits.expire === undefined ? {} : { expire: limits.expire },
    ...limits.keep === undefined ? {} : { keep: limits.keep },
  }
}
