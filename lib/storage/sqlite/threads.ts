/** Starts a thread of this driver from a file beside this one, whether compiled or source. */
import { Worker } from 'node:worker_threads'
import type { WriterSettings } from './rows.js'

const IS_SOURCE = import.meta.url.endsWith('.ts')
/** tsx does not affect a thread unless the thread registers it. */
const THROUGH_TSX = (file: URL): string =>
  `import { register } from ${JSON.stringify(import.meta.resolve('tsx/esm/api'))}\n` +
  `register()\nawait import(${JSON.stringify(file.href)})`

export function startThread (name: 'writer' | 'reader', settings: WriterSettings): Worker {
  const file = new URL(`./${name}.${IS_SOURCE ? 'ts' : 'js'}`, import.meta.url)
  const url = IS_SOURCE ? new URL(`data:text/javascript,${encodeURIComponent(THROUGH_TSX(file))}`) : file
  return new Worker(url, { workerData: settings })
}
