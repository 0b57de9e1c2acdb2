/** Measures the heap of this process without garbage. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Collects garbage, and returns the bytes in use on the heap. */
export function heapUsed (): number {
  collect()
  return process.memoryUsage().heapUsed
}
