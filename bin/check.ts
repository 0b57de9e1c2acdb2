/** `sestina check`: reports the problems that a start would have. It changes nothing on a server. */
import { Resolver } from 'node:dns/promises'
import { dnsRecords, type RecordLine } from '../lib/admin/dns.js'
import { askAdmin } from '../lib/admin/socket.js'
import { CommandError } from '../lib/admin/talk.js'
import { findingsOn, type Finding } from '../lib/check.js'
import { describe } from '../lib/config/describe.js'
import type { Config } from '../lib/config/load.js'
import { ConfigProblems, writePlace } from '../lib/config/problem.js'
import { readConfAndModules, socketIn } from './place.js'
import { show } from './show.js'

/** The timeout of one DNS query in milliseconds, and the number of attempts. */
const DNS = { timeout: 2000, tries: 2 } as const

/** The options of `sestina check`. */
export interface Checking {
  readonly full?: boolean
  readonly dns?: boolean
  readonly resolver?: string
  readonly json?: boolean
}

/**
 * Prints the problems. Returns 'fine', 'conf' if no server can run with the conf, or 'dns' if records in DNS are wrong.
 */
export async function check (file: string, how: Checking): Promise<'fine' | 'conf' | 'dns'> {
  const json = how.json === true
  let read: Awaited<ReturnType<typeof readConfAndModules>>
  try {
    read = await readConfAndModules(file)
  } catch (error) {
    if (!json || !(error instanceof ConfigProblems)) throw error
    show({ file, problems: error.problems.map(problem => lineOf({ ...problem, level: 'error' })) }, true)
    return 'conf'
  }
  const { config, modules } = read
  if (how.full === true) show(describe(config), json)
  const records = how.dns === true ? await dnsOf(config, how.resolver) : []
  if (how.dns === true) show(records, json)
  if (how.full === true || how.dns === true) return records.every(({ verdict }) => verdict === 'fine') ? 'fine' : 'dns'
  const findings = await findingsOn(config, modules, await isRunning(config))
  if (json) show({ file, problems: findings.map(lineOf) }, true)
  else tell(file, findings)
  return findings.some(({ level }) => level === 'error') ? 'conf' : 'fine'
}

function tell (file: string, findings: readonly Finding[]): void {
  for (const { place, level, text } of findings) process.stderr.write(`${writePlace(place)}: ${level === 'warning' ? 'warning: ' : ''}${text}\n`)
  if (findings.some(({ level }) => level === 'error')) return
  show(findings.length === 0 ? `${file} is fine` : `${file} is fine, with ${findings.length === 1 ? 'one warning' : `${findings.length} warnings`}`, false)
}

function lineOf ({ place, level, text }: Finding): Readonly<Record<string, string>> {
  return { place: writePlace(place), level, text }
}

/** True if a server runs with this conf, even if it does not answer this user. */
async function isRunning (config: Config): Promise<boolean> {
  try {
    return await askAdmin(socketIn(config.server.data), { command: 'check', args: [] }, () => {}) !== undefined
  } catch {
    return true
  }
}

async function dnsOf (config: Config, server: string | undefined): Promise<readonly RecordLine[]> {
  const dns = new Resolver(DNS)
  try {
    if (server !== undefined) dns.setServers([server])
  } catch (error) {
    throw new CommandError(`'${String(server)}' is not the IP address of a DNS server`, { cause: error })
  }
  const services = [...config.hosts].filter(([, { service }]) => service !== undefined).map(([domain]) => domain)
  return await dnsRecords([...config.hosts.keys()], config.server.listen, {
    srv: name => dns.resolveSrv(name),
    addresses: async name => {
      const [four, six] = await Promise.allSettled([dns.resolve4(name), dns.resolve6(name)])
      if (four.status === 'rejected' && six.status === 'rejected') throw four.reason
      return [four, six].flatMap(found => found.status === 'fulfilled' ? found.value : [])
    },
  }, new Set(services))
}
