/** XEP-0424 §4: what its sender has retracted is gone from archives; that it was there is not. */
import { createHash } from 'node:crypto'
import { attributeOf, children, formatDateTime, fromOctets, NS, octets, parseElement, readEntries, toOctets, xml } from '../../lib/api.js'
import type { Batch, Element, Entry, Journal, Message } from '../../lib/api.js'

/** Messages that one retraction takes back: one, and its corrections. */
const MOST = 100
/** Entries, and bytes of them, that are looked at in one turn of the event loop. */
const FEW = 10
const PAGE = 128 * 1024

type OwnBatch = Batch & { commit (): Promise<void> }

/** Characters of an alias that stays as it is. */
const LONGEST_NAME = 200

/**
 * What a retraction finds a message by: who sent it and the id they gave it. A correction (XEP-0308) goes by the id of what it corrects:
 * with that it is taken back as well.
 */
export function aliasOf (message: Message): { readonly alias?: string } {
  const corrected = message.child(NS.CORRECT, 'replace')
  const id = (corrected === undefined ? undefined : attributeOf(corrected, 'id')) ?? message.id
  return id === undefined || id === '' ? {} : { alias: nameOf(message, id) }
}

/** What a message takes back: an id of its sender's. A retraction without an id of its own leaves nothing that a client could match. */
export function retractedBy (message: Message): string | undefined {
  const retract = message.child(NS.RETRACT, 'retract')
  return retract === undefined || message.id === undefined || message.id === '' ? undefined : attributeOf(retract, 'id')
}

/** Puts tombstones in place of what the owner's archive has of it, and of its corrections. `contact`: the other party's bare address. */
export async function retract (
  archive: Journal<string>, owner: string, contact: string, retraction: Message, id: string, at: number,
  batch: () => OwnBatch,
): Promise<void> {
  let left = MOST
  let after: string | undefined
  for (let isOver = false; !isOver && left > 0;) {
    // A few at a time: each is parsed on the main thread, and others are to have their turn in between.
    const page = await archive.page(owner, {
      alias: nameOf(retraction, id), with: contact, limit: Math.min(left, FEW), bytes: PAGE, ...after === undefined ? {} : { after },
    })
    await replace(archive, owner, page.entries, retraction, at, batch)
    left -= page.entries.length
    after = page.entries.at(-1)?.id
    isOver = page.complete || after === undefined
  }
}

async function replace (
  archive: Journal<string>, owner: string, entries: readonly Entry<string>[], retraction: Message, at: number, batch: () => OwnBatch,
): Promise<void> {
  const found = readEntries(archive, owner, entries, entry => {
    const element = parseElement(toOctets(entry.value))
    return mayRetract(element, retraction) ? [{ id: entry.id, value: tombstone(element, retraction.id ?? '', at) }] : []
  }).flat()
  if (found.length === 0) return
  const writes = batch()
  for (const { id, value } of found) writes.add(archive.replacing(owner, id, value))
  await writes.commit()
}

/** A name short enough for every database's index, however long an id somebody gives. */
function nameOf ({ from }: Message, id: string): string {
  const name = `${from.bare.toString()} ${id}`
  return name.length <= LONGEST_NAME ? name : createHash('sha256').update(name).digest('base64url')
}

/** §5: the sender's alone; what has come out of a room is that occupant's, whose full address it has. Never a retraction. */
function mayRetract (element: Element, retraction: Message): boolean {
  if (children(element, NS.RETRACT).length > 0) return false
  const isOfRoom = children(element, NS.MUC_USER, 'x').length > 0
  return !isOfRoom || attributeOf(element, 'from') === retraction.from.toString()
}

/** Nothing of the message but who sent what kind to whom, under which id. */
function tombstone (element: Element, id: string, at: number): string {
  const attributes = Object.fromEntries(['type', 'id', 'from', 'to'].flatMap(name => {
    const value = attributeOf(element, name)
    return value === undefined ? [] : [[name, value]]
  }))
  return fromOctets(octets(xml('message', attributes, xml('retracted', { xmlns: NS.RETRACT, id, stamp: formatDateTime(at) }))))
}
