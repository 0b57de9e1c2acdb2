/**
 * `sestina init`: writes a conf file, makes the data folder (both outside of the package), and adds the first
 * administrator.
 */
import { chmodSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { isCancel, text } from '@clack/prompts'
import { checkAccount, checkedDomain, checkPassword } from '../lib/admin/commands.js'
import { hasSubdomains } from '../lib/admin/dns.js'
import { CommandError } from '../lib/admin/talk.js'
import { COMMAND, SYSTEM_CONF_FOLDER, userConfFolder } from './place.js'

/** The answers that `sestina init` needs. Undefined ones are asked for at the terminal. */
export interface InitSettings {
  /**
   * The folder for the conf file and the data. If undefined: the usual places of this user, or of the machine for root.
   */
  readonly folder: string | undefined
  readonly domain: string | undefined
  readonly admin: string | undefined
  /** Gets a password that `check` accepts: a terminal is asked again; otherwise it rejects with what that throws. */
  readonly password: (check: (password: string) => void) => Promise<string>
  /** Adds the account. */
  readonly add: (conf: string, jid: string, password: string) => Promise<unknown>
}

/**
 * Returns a text that says what was made. Throws CommandError, and changes nothing, if there is a conf file already,
 * if an answer is wrong, or if there is no terminal to ask at.
 */
export async function init ({ folder, domain, admin, password, add }: InitSettings): Promise<string> {
  const [confFolder, data] = placesFor(folder)
  const conf = join(confFolder, 'sestina.toml')
  if (statSync(conf, { throwIfNoEntry: false }) !== undefined) throw new CommandError(`${conf} exists already; nothing was changed`)
  const question = 'Domain, such as example.org: the part after the @ in addresses'
  const host = checkedDomain(domain ?? await asked(question, '--domain', checkedDomain))
  const addressOf = (name: string): string => {
    const jid = name.includes('@') ? name : `${name}@${host}`
    checkAccount(jid)
    if (!jid.endsWith(`@${host}`)) throw new CommandError(`'${jid}' is not at ${host}: the first administrator has an account here`)
    return jid
  }
  const jid = addressOf(admin ?? await asked(`First administrator, such as you@${host}`, '--admin', addressOf))
  const secret = await password(checkPassword)
  make(confFolder, 0o755)
  make(data, 0o700)
  writeFileSync(conf, confOf(data, host, jid), { flag: 'wx', mode: 0o644 })
  chmodSync(conf, 0o644)
  try {
    await add(conf, jid, secret)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new CommandError(`${conf} is written, but ${jid} was not added (${why}). Add it by hand: ${COMMAND} user add ${jid} --conf ${conf}`, { cause: error })
  }
  const named = folder === undefined ? '' : ` --conf ${conf}`
  return `conf file: ${conf}\ndata folder: ${data}\nadministrator: ${jid}\nstart the server: ${COMMAND} start${named}`
}

function placesFor (folder: string | undefined): readonly [conf: string, data: string] {
  if (folder !== undefined) return [resolve(folder), join(resolve(folder), 'data')]
  if (process.getuid?.() === 0) return [SYSTEM_CONF_FOLDER, '/var/lib/sestina']
  return [userConfFolder(), join(process.env['XDG_DATA_HOME'] ?? join(homedir(), '.local', 'share'), 'sestina')]
}

/** Makes a folder with this mode, whatever the umask is. Leaves an existing folder unchanged. */
function make (folder: string, mode: number): void {
  if (mkdirSync(folder, { recursive: true, mode }) !== undefined) chmodSync(folder, mode)
}

/** Asks until the answer is fine: `check` throws if it is not. */
async function asked (message: string, option: string, check: (said: string) => unknown): Promise<string> {
  if (!process.stdin.isTTY) throw new CommandError(`there is no terminal to ask at; use ${option}`)
  const said = await text({ message, validate: said => objectionOf(() => check(said ?? '')) })
  if (isCancel(said) || said === '') throw new CommandError('nothing was changed')
  return said
}

/** Returns the message of what `check` throws; undefined if it throws nothing. */
export function objectionOf (check: () => unknown): string | undefined {
  try {
    check()
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

function confOf (data: string, host: string, jid: string): string {
  return `# The conf file of Sestina. It has only settings that differ from the defaults; docs/configuration.md has all settings.
data = ${JSON.stringify(data)}

[tls]
certificates = ${JSON.stringify(join(data, 'certificates'))}

[host.${JSON.stringify(host)}]
admins = [${JSON.stringify(jid)}]
${hasSubdomains(host) ? roomsConf(`conference.${host}`) : ''}`
}

function roomsConf (domain: string): string {
  return `
# Group chat: the rooms have a domain of their own.
[host.${JSON.stringify(domain)}]
service = "muc"
`
}
