/** The data folder that a conf file names, whatever else stands in the file. */
import { dirname, resolve } from 'node:path'
import { ConfigProblems } from './problem.js'
import { server as serverSchema } from './server.js'
import { ConfFiles } from './source.js'

/**
 * Returns the absolute path of the data folder. Needs neither the secrets nor the modules that the conf file names.
 * Throws ConfigProblems if the file, or one that it includes, cannot be read, or if `data` is wrong.
 */
export function dataFolderOf (file: string): string {
  const source = new ConfFiles(file)
  if (source.problems.length > 0) throw new ConfigProblems(source.problems, source.files)
  const read = serverSchema.data.zod({ folder: resolve(dirname(file)), env: () => undefined, file: () => '' }).safeParse(source.at(['data']))
  if (read.success) return read.data
  const place = source.valuePlace(['data'])
  throw new ConfigProblems(read.error.issues.map(({ message }) => ({ place, text: `data: ${message}` })), source.files)
}
