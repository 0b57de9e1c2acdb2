/**
 * Lets only one process use a data folder. The operating system frees the lock when the process ends, also after a
 * crash.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../base/clock.js'
import { connectAlone, isBusy } from './sqlite/connection.js'

export interface FolderLock {
  /** Frees the folder for another process. A second call does nothing. */
  release (): void
}

/**
 * Locks the folder, which must exist. If another process holds it, throws an error that names the process and the time
 * since when.
 */
export function holdFolder (folder: string): FolderLock {
  const note = join(folder, 'lock.json')
  const held = take(folder, note)
  const holder = { pid: process.pid, since: new Date(systemClock.now()).toISOString() }
  writeFileSync(note, `${JSON.stringify(holder)}\n`, { mode: 0o600 })
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
    const text = `the data folder ${folder} is held by ${holderIn(note)}: one server at a time can use it`
    throw new Error(text, { cause: error })
  }
}

function holderIn (note: string): string {
  try {
    const { pid, since } = JSON.parse(readFileSync(note, 'utf8')) as { readonly pid: number, readonly since: string }
    return `process ${pid} since ${since}`
  } catch {
    return 'another process' // the holder has just started, or is about to end
  }
}
