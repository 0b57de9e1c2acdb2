/** Measures processes and all their descendants: CPU time and memory, from /proc. Linux only. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

/** Returns the CPU seconds (user and system, all threads) that the processes and their living descendants have used. */
export function cpuSeconds (roots: readonly number[]): number {
  return roots.flatMap(processTree).reduce((sum, pid) => sum + processSeconds(pid), 0)
}

/**
 * Returns the memory of the processes and their descendants in bytes: the proportional set size, which counts shared
 * pages once.
 */
export function memoryBytes (roots: readonly number[]): number {
  return roots.flatMap(processTree).reduce((sum, pid) => sum + proportionalBytes(pid), 0)
}

/** Returns the load average of the last minute, which shows how busy the machine is. */
export function loadAverage (): number {
  return Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0])
}

/** Returns the model name of the CPU. */
export function cpuName (): string {
  return /^model name\s*:\s*(.+)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown'
}

interface ProcessStat { readonly pid: number, readonly parent: number, readonly seconds: number }

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

function processTree (root: number): number[] {
  const all = numbersIn('/proc').map(stat).filter(entry => entry !== undefined)
  const tree = all.filter(({ pid }) => pid === root).map(({ pid }) => pid)
  if (tree.length === 0) throw new Error(`process ${root} is gone`)
  // The list grows during the loop, so children of children are found as well.
  for (const parent of tree) tree.push(...all.filter(entry => entry.parent === parent).map(({ pid }) => pid))
  return tree
}

function stat (pid: number): ProcessStat | undefined {
  const text = readOrGone(`/proc/${pid}/stat`)
  if (text === undefined) return undefined
  // proc(5): the name is in parentheses and may hold any character. The fields after it begin with the state, field 3.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const field = (number: number): number => Number(fields[number - 3])
  return { pid, parent: field(4), seconds: (field(14) + field(15)) / ticksPerSecond }
}

/**
 * Returns the CPU seconds of a process: from the scheduler's statistics of its threads, in nanoseconds; if the kernel
 * has none, from its counters in ticks of 10 ms.
 */
function processSeconds (pid: number): number {
  const threads = numbersIn(`/proc/${pid}/task`).map(thread => readOrGone(`/proc/${pid}/task/${thread}/schedstat`))
  const known = threads.filter(text => text !== undefined).map(text => Number(text.split(' ')[0]))
  return known.length > 0 ? known.reduce((sum, nanoseconds) => sum + nanoseconds, 0) / 1e9 : stat(pid)?.seconds ?? 0
}

function numbersIn (folder: string): number[] {
  return orGone(() => readdirSync(folder).filter(name => /^\d+$/.test(name)).map(Number)) ?? []
}

function proportionalBytes (pid: number): number {
  const text = readOrGone(`/proc/${pid}/smaps_rollup`) ?? ''
  return Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024
}

function readOrGone (path: string): string | undefined {
  return orGone(() => readFileSync(path, 'utf8'))
}

/** Returns undefined if the file is gone: a process may end between listing and reading. */
function orGone<T> (read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH')) return undefined
    throw error
  }
}
