/** Starts a thread of this driver from a file beside this one, compiled or not. */
import { Worker } from 'node:worker_threads'
import type { WriterSettings } from './rows.js'

const IS_SOURCE = import.meta.url.endsWith('.ts')

export function startThread (name: 'writer' | 'reader', settings: WriterSettings): Worker {
  const url = new URL(`./${name}.${IS_SOURCE ? 'ts' : 'js'}`, import.meta.url)
  return new Worker(IS_SOURCE ? throughTsx(url) : url, { workerData: settings })
}

/** tsx does not reach into a thread unless it is called there. */
function throughTsx (file: URL): URL {
  const script = `import { register } from ${JSON.stringify(import.meta.resolve('tsx/esm/api'))}\n` +
    `register()\nawait import(${JSON.stringify(file.href)})`
  return new URL(`data:text/javascript,${encodeURIComponent(script)}`)
}
