/** One process holds a data folder. The system frees it when that process dies, however it dies. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../base/clock.js'
import { connectAlone, isBusy } from './sqlite/connection.js'

export interface FolderLock {
  /** Lets another process have the folder. Calling it again does nothing. */
  release (): void
}

/** Holds the folder, which must exist. Throws an error that says who holds it, and since when, where somebody does. */
export function holdFolder (folder: string): FolderLock {
  const note = join(folder, 'lock.json')
  const held = take(folder, note)
  writeFileSync(note, `${JSON.stringify({ pid: process.pid, since: new Date(systemClock.now()).toISOString() })}\n`, { mode: 0o600 })
  return {
    release () {
      if (!held.open) return
      rmSync(note, { force: true })
      held.close()
    },
  }
}

function take (folder: string, note: string): ReturnType<typeof connectAlone> {
  try {
    return connectAlone(join(folder, 'lock'))
  } catch (error) {
    if (!isBusy(error)) throw error
    throw new Error(`the data folder ${folder} is held by ${holderIn(note)}: one server at a time can use it`, { cause: error })
  }
}

function holderIn (note: string): string {
  try {
    const { pid, since } = JSON.parse(readFileSync(note, 'utf8')) as { readonly pid: number, readonly since: string }
    return `process ${pid} since ${since}`
  } catch {
    return 'another process' // which has just begun, or is about to end
  }
}
