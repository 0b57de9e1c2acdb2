/** What this package says of itself: where it lies, its version. */
import { readFileSync, existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder that holds package.json, whether this file runs from its source or from dist. */
export const PACKAGE_ROOT = rootAbove(dirname(fileURLToPath(import.meta.url)))

/** The version in package.json. */
export const VERSION = versionIn(JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8')))

function rootAbove (folder: string): string {
  if (existsSync(join(folder, 'package.json'))) return folder
  const parent = dirname(folder)
  if (parent === folder) throw new Error('sestina was taken out of its package: there is no package.json above it')
  return rootAbove(parent)
}

function versionIn (json: unknown): string {
  return typeof json === 'object' && json !== null && 'version' in json ? String(json.version) : 'unknown'
}
