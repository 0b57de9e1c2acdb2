/** Where the bytes of files are: the one interface to the disk, or to what may take its place. */
import type { Readable } from 'node:stream'
import type { WebAnswer } from '../../lib/api.js'

/** One file of one owner. Both are names that are safe in a path. */
export interface FilePlace { readonly folder: string, readonly id: string }

/** Bytes that have come, and that are no file yet. */
export interface Received {
  /** Makes them the file, safe from a power cut. A file that is there already is replaced as a whole. */
  keep (): Promise<void>
  /** Removes them. */
  drop (): Promise<void>
}

/** The headers of a request for a file, by name in lower case: Range and the conditions (RFC 9110 §13, §14). */
export interface Wanted {
  readonly isHead: boolean
  readonly header: (name: string) => string | undefined
}

export interface Files {
  /** Begins: removes what former processes have left unfinished. Called once in a process. */
  begin (): Promise<void>
  /**
   * Takes bytes as fast as they can be written, and holds few of them in memory. Rejects, and leaves nothing, if the
   * body ends too early, if `stop` is aborted, or if they cannot be written.
   */
  receive (place: FilePlace, body: Readable, stop: AbortSignal): Promise<Received>
  /** Answers with the file, a part of it, or with what a condition asks for; status 404 if there is no such file. */
  answer (place: FilePlace, wanted: Wanted): Promise<WebAnswer>
  /** Removes a file, if it is there. */
  remove (place: FilePlace): Promise<void>
  /** Removes all files of an owner. */
  removeAll (folder: string): Promise<void>
}
