/** Finds the files of modules outside the package, and refuses those that other users can change. */
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { PACKAGE_ROOT } from '../base/package.js'
import { whyUnsafe } from '../base/trust.js'

const FORMS = 'a module is NAME.js, NAME.mjs, or a folder NAME with index.js or package.json'

/** The name of a module. */
export const NAME = /^[a-z][a-z0-9-]*$/

/** The code of one module. All paths are absolute and without symbolic links. */
export interface Code {
  /** The file that exports the module. */
  readonly entry: string
  /** The name that the module must have; undefined for a package, which may have any. */
  readonly name: string | undefined
  /** The files and folders that the module consists of. */
  readonly roots: readonly string[]
}

/**
 * Returns the modules in a folder, or the one module of a package's folder. Throws an Error for the operator if there
 * are none, or if other users can change one.
 */
export function codeIn (path: string): readonly Code[] {
  const folder = safe(path)
  if (!statSync(folder).isDirectory()) throw new Error(`${path} is not a folder`)
  const entry = entryOfPackage(folder)
  if (entry !== undefined) return [{ entry: safe(entry), name: undefined, roots: [folder] }]
  const names = readdirSync(folder).sort().filter(name => NAME.test(stemOf(name)) && name !== 'node_modules')
  const found = names.flatMap(name => {
    const file = entryAt(join(folder, name))
    return file === undefined ? [] : [{ name, file }]
  })
  if (found.length === 0) {
    throw new Error(`there is no module in ${path}: ${FORMS}. TypeScript must be compiled first`)
  }
  const parts = names.filter(name => isFolder(join(folder, name)) && !found.some(other => other.name === name))
    .map(name => safe(join(folder, name)))
  return found.map(({ name, file }): Code => {
    const place = safe(join(folder, name))
    if (!isFolder(place)) return { entry: place, name: stemOf(name), roots: [place, ...parts] }
    const isPackage = entryOfPackage(place) !== undefined
    return { entry: safe(file), name: isPackage ? undefined : name, roots: [place] }
  })
}

/**
 * Returns the module of an npm package, which is installed beside the conf file, above it, or with the server. Throws
 * an Error for the operator.
 */
export function codeOfPackage (name: string, confFolder: string): Code {
  const found = [...foldersFrom(confFolder), ...foldersFrom(PACKAGE_ROOT)].map(folder => join(folder, 'node_modules', name))
    .find(folder => existsSync(join(folder, 'package.json')))
  if (found === undefined) {
    throw new Error(`there is no package '${name}' in ${join(confFolder, 'node_modules')} or above: install it, such as with \`npm install ${name}\` in ${confFolder}`)
  }
  const folder = safe(found)
  const entry = entryOfPackage(folder) ?? entryAt(folder)
  if (entry === undefined) throw new Error(`${found} has no file to load: its package.json needs "exports"`)
  return { entry: safe(entry), name: undefined, roots: [folder] }
}

/** Returns the path without symbolic links. Throws if it does not exist, or if other users can change it. */
function safe (path: string): string {
  let real: string
  try {
    real = realpathSync(path)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    throw new Error(code === 'ENOENT' ? `${path} does not exist` : `${path} cannot be read (${String(code)})`, { cause: error })
  }
  const why = whyUnsafe(real)
  if (why !== undefined) throw new Error(why)
  return real
}

/** Returns the file of a module at a path: the file itself, or the entry of the folder; undefined if it is none. */
function entryAt (path: string): string | undefined {
  if (!isFolder(path)) return /\.m?js$/.test(path) ? path : undefined
  return entryOfPackage(path) ?? ['index.js', 'index.mjs'].map(name => join(path, name)).find(file => existsSync(file))
}

/**
 * Returns the file that an import of a package in this folder loads; undefined if no package.json names one. Throws if
 * the file does not exist.
 */
function entryOfPackage (folder: string): string | undefined {
  const file = join(folder, 'package.json')
  if (!existsSync(file)) return undefined
  let manifest: unknown
  try {
    manifest = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new Error(`${file} is not JSON`, { cause: error })
  }
  const entry = chosen(field(manifest, 'exports')) ?? chosen(field(manifest, 'main'))
  if (entry === undefined) return undefined
  if (!existsSync(join(folder, entry))) throw new Error(`${file} names ${entry}, which does not exist: is the package built?`)
  return join(folder, entry)
}

/** Returns the path in `exports` of a package.json that an import of the package gets. */
function chosen (value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (typeof value !== 'object' || value === null) return undefined
  for (const [key, target] of Object.entries(value)) {
    const path = ['.', 'node', 'import', 'module-sync', 'default'].includes(key) ? chosen(target) : undefined
    if (path !== undefined) return path
  }
  return undefined
}

function field (value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Object.getOwnPropertyDescriptor(value, name)?.value : undefined
}

/** Returns the folder and all above it, except those that are named node_modules. */
function foldersFrom (folder: string): readonly string[] {
  const above = dirname(folder) === folder ? [] : foldersFrom(dirname(folder))
  return basename(folder) === 'node_modules' ? above : [folder, ...above]
}

function isFolder (path: string): boolean { return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true }

function stemOf (name: string): string { return name.replace(/\.m?js$/, '') }
