/** The stores of uploads: one row for each slot and file, and one for each slot that counts for the day. */
import { createHash } from 'node:crypto'
import { hasForm, records, table } from '../../lib/api.js'
import type { Records, Table } from '../../lib/api.js'

/** The purposes of XEP-0363 §5. */
export const PURPOSES = ['message', 'profile', 'ephemeral', 'permanent'] as const
export type Purpose = typeof PURPOSES[number]

/** The sums that quotas look at. Ephemeral files count with those of messages. */
export type Share = 'message' | 'profile' | 'permanent'

/** A slot whose file has not come yet, or a file. Its size counts from the slot on. */
export interface Upload {
  readonly id: string
  /** The bare address of the account. */
  readonly account: string
  readonly name: string
  /** In bytes. */
  readonly size: number
  /** The media type; '' if the client has not named one yet. */
  readonly type: string
  readonly purpose: Purpose
  readonly state: 'slot' | 'file'
  /** When the slot was given, in milliseconds since 1970. */
  readonly made: number
  /** When the slot or the file ends, in milliseconds since 1970; absent if never. */
  readonly due?: number
  /** The client's upper limit of `due` (XEP-0363 §5.3). */
  readonly before?: number
}

/** A slot of the last day, in bytes; `due` is when it does not count any more. */
export interface DaySlot { readonly size: number, readonly due: number }

/** The rows of both tables belong to `ownerOf (account)`; the records, to the service. */
export interface UploadStores {
  readonly uploads: Table<Upload>
  readonly day: Table<DaySlot>
  /** The secret that signs slots. */
  readonly secret: Records<string>
  /** The owners whose files must be removed because their accounts were. */
  readonly leaving: Records<boolean>
}

export function shareOf (purpose: Purpose): Share { return purpose === 'ephemeral' ? 'message' : purpose }

const sizeIn = (share: Share) => ({ purpose, size }: Upload): number => shareOf(purpose) === share ? size : 0

export const uploadStores = {
  uploads: table<Upload>(1, {
    by: {
      id: ({ id }) => id,
      due: ({ due }) => due,
      // The files that make room for others, the oldest first.
      age: ({ state, purpose, made }) => state === 'file' && shareOf(purpose) === 'message' ? made : undefined,
    },
    sum: {
      message: sizeIn('message'),
      profile: sizeIn('profile'),
      permanent: sizeIn('permanent'),
      file: ({ state, size }) => state === 'file' ? size : 0,
    },
  }, undefined, { check: isUpload, unreadable: 'moved' }),
  day: table<DaySlot>(1, { by: { due: ({ due }) => due }, sum: { size: ({ size }) => size } }, undefined, {
    check: value => hasForm(value, { size: 'number', due: 'number' }), unreadable: 'moved',
  }),
  secret: records<string>(1),
  leaving: records<boolean>(1),
}

function isUpload (value: unknown): boolean {
  return hasForm(value, {
    id: 'string', account: 'string', name: 'string', size: 'number', type: 'string', purpose: 'string', state: 'string',
    made: 'number', due: 'number?', before: 'number?',
  })
}

/** Returns the owner of an account's rows: an address at the service, so that a service finds its own rows. */
export function ownerOf (account: string, domain: string): string { return `${encodeURIComponent(account)}@${domain}` }

/** Returns the name of the folder with an owner's files: safe in every file system, and of one length. */
export function folderOf (owner: string): string {
  return createHash('sha256').update(owner).digest('hex').slice(0, 40)
}
