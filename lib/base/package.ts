/** This package: its folder and its version. */
import { readFileSync, existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder that holds package.json, whether this file runs from source or from dist. */
export const PACKAGE_ROOT = rootAbove(dirname(fileURLToPath(import.meta.url)))

/** The version in package.json. */
export const VERSION = versionIn(JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8')))

function rootAbove (folder: string): string {
  if (existsSync(join(folder, 'package.json'))) return folder
  const parent = dirname(folder)
  if (parent === folder) throw new Error('there is no package.json above this file: sestina must stay in its package')
  return rootAbove(parent)
}

function versionIn (json: unknown): string {
  return typeof json === 'object' && json !== null && 'version' in json ? String(json.version) : 'unknown'
}
