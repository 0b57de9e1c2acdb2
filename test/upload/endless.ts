/** A body of a given size that notes how much of it is in memory: read from here, and not yet in its file. */
import { statSync } from 'node:fs'
import { Readable } from 'node:stream'

const PIECE = 64 * 1024

/** `fileOf` returns the path of the file that the body is written to. */
export function endless (size: number, fileOf: () => string): { readonly stream: Readable, most: number } {
  let given = 0
  const written = (): number => statSync(fileOf(), { throwIfNoEntry: false })?.size ?? 0
  const body = {
    most: 0,
    stream: new Readable({
      highWaterMark: PIECE,
      read () {
        if (given >= size) { this.push(null); return }
        given += PIECE
        body.most = Math.max(body.most, given - written())
        this.push(Buffer.alloc(PIECE))
      },
    }),
  }
  return body
}
