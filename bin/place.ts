/** Where the command finds things: the modules, the conf file, the local socket. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { PACKAGE_ROOT } from '../lib/base/package.js'
import { loadConfig, type Config } from '../lib/config/load.js'
import { findModules } from '../lib/main.js'

/** The folder of the modules, beside this file's own. */
export const MODULES = join(PACKAGE_ROOT, import.meta.url.endsWith('.ts') ? 'modules' : 'dist/modules')

/** A variable of the environment. */
export const env = (name: string): string | undefined => process.env[name]

/** Where the conf file is looked for where neither --conf nor SESTINA_CONF names one. */
const LOOKED = ['sestina.toml', 'conf/sestina.toml', join(PACKAGE_ROOT, 'conf', 'sestina.toml')]

/** For --help: which files are meant. */
export const PLACES = `The conf file is the one that --conf names, else the one in $SESTINA_CONF, else the first that is there of:
${LOOKED.map(file => `  ${file}\n`).join('')}What is stored goes to \`data\` of the conf file: by default the folder "data" beside it, with certificates in
"data/certificates" and the socket of these commands at "data/admin.sock".`

/** The conf file that is meant: the one named, or the first that is there. */
export function confFile (given: string | undefined): string {
  const found = [given, process.env['SESTINA_CONF'], ...LOOKED]
    .find(file => file !== undefined && (file === given || existsSync(file)))
  return resolve(found ?? 'sestina.toml')
}

/** Throws ConfigProblems. */
export async function readConf (file: string): Promise<Config> {
  return loadConfig(file, await findModules(MODULES), env)
}

export function socketOf (config: Config): string { return join(config.server.data, 'admin.sock') }
