/** Finds the modules, the conf file and the local socket. */
import { statSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { PACKAGE_ROOT } from '../lib/base/package.js'
import { isOfOthers } from '../lib/base/trust.js'
import { loadConfig, type Config } from '../lib/config/load.js'
import { ConfigProblems } from '../lib/config/problem.js'
import { Library } from '../lib/main.js'

/** The folder of the modules: their sources if this file runs as TypeScript, else the compiled ones. */
export const MODULES = join(PACKAGE_ROOT, import.meta.url.endsWith('.ts') ? 'modules' : 'dist/modules')

/** Returns an environment variable, or undefined. */
export const env = (name: string): string | undefined => process.env[name]

/** Returns the folder for this user's conf file (XDG Base Directory Specification). */
export const userConfFolder = (): string => join(process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'sestina')

/** The name of this command: a checkout is not on the PATH. */
export const COMMAND = PACKAGE_ROOT.includes('node_modules') ? 'sestina' : 'npx sestina'

/** The folder for a conf file of the whole machine. */
export const SYSTEM_CONF_FOLDER = '/etc/sestina'

/** The places to look for a conf file if neither --conf nor SESTINA_CONF names one. */
const LOOKED = ['sestina.toml', 'conf/sestina.toml', join(userConfFolder(), 'sestina.toml'), join(SYSTEM_CONF_FOLDER, 'sestina.toml')]

/** The text of --help about the files that the command uses. */
export const PLACES = `The conf file is the one that --conf names, else the one in $SESTINA_CONF, else the first of these that exists:
${LOOKED.map(file => `  ${file}\n`).join('')}The data folder is \`data\` of the conf file: by default the folder "data" beside it, with certificates in
"data/certificates" and the socket of these commands at "data/admin.sock". \`sestina init\` makes conf file and folder.`

/**
 * Returns the path of the conf file: the one that `--conf` or SESTINA_CONF names, else the first that is found. The
 * path of a file that was found is printed, once. Throws ConfigProblems if there is none, or if other users may write
 * the file that was found.
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

/** Returns the path of the first conf file that is found. Throws as `confFile` does. */
export function foundConf (): string {
  const file = LOOKED.map(place => resolve(place))
    .find(place => statSync(place, { throwIfNoEntry: false }) !== undefined)
  if (file === undefined) {
    const text = `there is no conf file: none was named, and there is none at ${LOOKED.join(', ')}. \`sestina init\` makes one; --conf FILE names one`
    throw new ConfigProblems([{ place: { file: 'sestina.toml' }, text }])
  }
  for (const part of [file, dirname(file)]) {
    if (isOfOthers(part)) {
      const text = `it was found and not named, and other users may write ${part}: chmod go-w ${part}, or name the conf file with --conf`
      throw new ConfigProblems([{ place: { file }, text }])
    }
  }
  return file
}

/** All modules that a conf file can turn on, by name. */
type Modules = Awaited<ReturnType<Library['find']>>

interface ConfAndModules { readonly config: Config, readonly modules: Modules }

/** Reads a conf file with the settings of all modules. Throws ConfigProblems. */
export async function readConf (file: string): Promise<Config> { return (await readConfAndModules(file)).config }

/** Returns the modules that a conf file can turn on, too. Throws ConfigProblems. */
export async function readConfAndModules (file: string): Promise<ConfAndModules> {
  const modules = await new Library(MODULES).find(file)
  return { config: loadConfig(file, modules, env), modules }
}

/** Returns the path of the local socket of a server with this data folder. */
export function socketIn (data: string): string { return join(data, 'admin.sock') }
