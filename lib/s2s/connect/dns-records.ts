/** The records of a DNS answer that are kept. A stranger's DNS server chooses them, so there are few. */
import type { Answer } from 'dns-packet'

/** The most records of an answer. RFC 1035 names no bound, and no domain has as many servers or addresses. */
export const MOST_RECORDS = 64
/** The bytes that an object of the cache uses besides its texts, about: an answer, and each of its records. */
const OVERHEAD = 256

/** The records of one answer: `isCut` is true if there were more. */
export interface CutRecords { readonly records: readonly Answer[], readonly isCut: boolean }

/**
 * Returns at most `MOST_RECORDS` records, all with the name that was asked. RFC 2782: of SRV records those with the
 * lowest priority, which are tried first. Nothing of the packet that they came in is kept.
 */
export function cutRecords (all: readonly Answer[], name: string): CutRecords {
  const records = [...all].sort((a, b) => priorityOf(a) - priorityOf(b)).slice(0, MOST_RECORDS)
  return { records: records.map(record => copyOf(record, name)), isCut: records.length < all.length }
}

/** Returns about how many bytes the records use in memory. */
export function bytesOf (records: readonly Answer[]): number {
  return records.reduce((sum, record) => sum + OVERHEAD + bytesOfData(record), OVERHEAD)
}

function priorityOf (record: Answer): number { return record.type === 'SRV' ? record.data.priority ?? 0 : 0 }

/**
 * The data of a TLSA record is a part of its packet, which would stay in memory with it. A copy in Node's pool would
 * keep the pool, which has 64 KiB since Node 24.
 */
function copyOf (record: Answer, name: string): Answer {
  if (record.type !== 'TLSA') return { ...record, name }
  const certificate = Buffer.from(new Uint8Array(record.data.certificate).buffer)
  return { ...record, name, data: { ...record.data, certificate } }
}

function bytesOfData (record: Answer): number {
  switch (record.type) {
    case 'A': case 'AAAA': return record.data.length
    case 'SRV': return record.data.target.length
    case 'TLSA': return record.data.certificate.length
    default: return 0
  }
}
