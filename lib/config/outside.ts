/** The settings that say where modules outside the package are found. */
import { dirname, resolve } from 'node:path'
import type { Place } from './problem.js'
import { isTree } from './read.js'
import { list, packageName, path } from './schema.js'
import { ConfFiles } from './source.js'

/** The settings in [modules] that are no modules. */
export const OUTSIDE = {
  path: list(path(), { max: 100 }).default([])
    .says('Folders with modules that are not part of the package. Each module in them is loaded: NAME.js, NAME.mjs, or a folder NAME. ' +
      'Only root and the user who runs the server may be able to write there.'),
  packages: list(packageName(), { max: 100 }).default([])
    .says('npm packages with a module, such as "sestina-module-dice". They are looked for in the folders node_modules beside the conf file and ' +
      'above it, and then where Sestina itself is installed.'),
}

/** One place of modules that the conf file names: an absolute path, or the name of a package. */
export interface Outside { readonly kind: keyof typeof OUTSIDE, readonly text: string, readonly place: Place }

/** The places of modules that a conf file names, the conf file's folder, and the files that were read. */
interface OutsideOf {
  readonly folder: string
  readonly files: readonly string[]
  readonly wanted: readonly Outside[]
}

/**
 * Returns the places of modules outside the package that a conf file names. Leaves out wrong values: `loadConfig`
 * reports them. Throws ConfigProblems if the file cannot be read.
 */
export function outsideOf (file: string): OutsideOf {
  const source = new ConfFiles(file)
  const folder = resolve(dirname(file))
  const { modules } = source.root
  const wanted = (['path', 'packages'] as const).flatMap(kind => {
    const read = OUTSIDE[kind].zod({ folder, env: () => undefined, file: () => '' }).safeParse(isTree(modules) ? modules[kind] : undefined)
    return (read.data ?? []).map((text, index) => ({ kind, text, place: source.valuePlace(['modules', kind, index]) }))
  })
  return { folder, files: source.files, wanted }
}
