/**
 * Resolves the imports of modules outside the package: `sestina` is the running server's own copy, and code that other
 * users can change is refused. Runs in the main thread, or with older versions of Node in the thread of its loader.
 */
import { fileURLToPath } from 'node:url'
import { whyUnsafe } from '../base/trust.js'

interface Context { readonly parentURL?: string | undefined }
interface Resolved { readonly url: string, readonly shortCircuit?: boolean }
type Next = (specifier: string, context: Context) => Resolved | Promise<Resolved>

/** The URLs of all files outside the package that modules consist of: their entries and all that these import. */
const outside = new Set<string>()
/** The server's own lib/api, as source or compiled. */
const API = new URL(import.meta.url.endsWith('.ts') ? '../api.ts' : '../api.js', import.meta.url).href

/** Adds the URLs of files whose imports are resolved here. */
export function initialize (entries: readonly string[]): void {
  for (const entry of entries) outside.add(entry)
}

/** Resolves one import. Throws if other users can change the file. */
export function resolve (specifier: string, context: Context, next: Next): Resolved | Promise<Resolved> {
  if (context.parentURL === undefined || !outside.has(context.parentURL)) return next(specifier, context)
  if (specifier === 'sestina') return { url: API, shortCircuit: true }
  const found = next(specifier, context)
  return found instanceof Promise ? found.then(checked) : checked(found)
}

function checked (found: Resolved): Resolved {
  if (!found.url.startsWith('file:')) return found
  const why = whyUnsafe(fileURLToPath(found.url))
  if (why !== undefined) throw unsafe(why)
  outside.add(found.url)
  return found
}

/** Returns an error without a stack: what has to be mended is a file's mode, and no line of code. */
function unsafe (why: string): Error {
  const error = new Error(why)
  error.stack = why
  return error
}
