/** Where the command finds things: the modules, the conf file, the local socket. */
import { statSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { PACKAGE_ROOT } from '../lib/base/package.js'
import { loadConfig, type Config } from '../lib/config/load.js'
import { ConfigProblems } from '../lib/config/problem.js'
import { findModules } from '../lib/main.js'

/** The folder of the modules, beside this file's own. */
export const MODULES = join(PACKAGE_ROOT, import.meta.url.endsWith('.ts') ? 'modules' : 'dist/modules')

/** A variable of the environment. */
export const env = (name: string): string | undefined => process.env[name]

/** Where one user keeps the settings of programs (XDG Base Directory Specification). */
export const userConfFolder = (): string => join(process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'sestina')

/** Where the whole machine keeps them. */
export const SYSTEM_CONF_FOLDER = '/etc/sestina'

/** Where the conf file is looked for if neither --conf nor SESTINA_CONF names one. */
const LOOKED = ['sestina.toml', 'conf/sestina.toml', join(userConfFolder(), 'sestina.toml'), join(SYSTEM_CONF_FOLDER, 'sestina.toml')]

/** For --help: which files are meant. */
export const PLACES = `The conf file is the one that --conf names, else the one in $SESTINA_CONF, else the first that is there of:
${LOOKED.map(file => `  ${file}\n`).join('')}What is stored goes to \`data\` of the conf file: by default the folder "data" beside it, with certificates in
"data/certificates" and the socket of these commands at "data/admin.sock". \`sestina init\` makes both.`

/**
 * The conf file that is meant: the one that was named, by `--conf` or SESTINA_CONF, or the first that is found. One that was not named is
 * printed, once. Throws ConfigProblems if there is none, or if somebody else may have written what was found.
 */
export function confFile (given: string | undefined): string {
  const named = given ?? process.env['SESTINA_CONF']
  if (named !== undefined) return resolve(named)
  const file = foundConf()
  if (!isSaid) process.stderr.write(`conf file: ${file}\n`)
  isSaid = true
  return file
}

let isSaid = false

/** The conf file that is meant if none is named. Throws as `confFile` does. */
export function foundConf (): string {
  const file = LOOKED.map(place => resolve(place)).find(place => statSync(place, { throwIfNoEntry: false }) !== undefined)
  if (file === undefined) {
    const text = `there is no conf file: none was named, and there is none at ${LOOKED.join(', ')}. \`sestina init\` makes one; --conf FILE names one`
    throw new ConfigProblems([{ place: { file: 'sestina.toml' }, text }])
  }
  for (const part of [file, dirname(file)]) {
    if (isOfOthers(part)) {
      const text = `it was found and not named, and somebody else may write ${part}: chmod go-w ${part}, or name the conf with --conf`
      throw new ConfigProblems([{ place: { file }, text }])
    }
  }
  return file
}

/** Whether anybody but root and the caller may change it. */
function isOfOthers (path: string): boolean {
  const { uid, mode } = statSync(path)
  return uid !== 0 && uid !== process.getuid?.() || (mode & 0o022) !== 0
}

/** Throws ConfigProblems. */
export async function readConf (file: string): Promise<Config> {
  return loadConfig(file, await findModules(MODULES), env)
}

export function socketOf (config: Config): string { return join(config.server.data, 'admin.sock') }
