/** Conf files for tests that need few modules. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { PACKAGE_ROOT } from '../lib/base/package.js'

/** Returns the lines of a `[modules]` table with `lines`, and with every module that they do not name turned off. */
export function only (lines: string): string {
  const named = new Set([...lines.matchAll(/^\s*([\w-]+)/gm)].map(([, name]) => name))
  const names = readdirSync(join(PACKAGE_ROOT, 'dist', 'modules')).filter(file => /\.js$|^[^.]+$/.test(file)).map(file => file.replace(/\.js$/, ''))
  return `${lines}\n${names.filter(name => !named.has(name)).map(name => `${name} = false\n`).join('')}`
}
