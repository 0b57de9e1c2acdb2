/** Checks for `sestina check` besides the conf file: everything that a start needs. Makes and changes nothing. */
import { systemClock } from './base/clock.js'
import { randomIds } from './base/ids.js'
import { silent } from './base/logger.js'
import { finderOf, whyNotListen, whyNotWrite } from './admin/probe.js'
import type { Config } from './config/load.js'
import type { Problem } from './config/problem.js'
import type { Path } from './config/read.js'
import type { AnyModule } from './host/module.js'
import { Server } from './host/server.js'
import { SetupError } from './host/setup-error.js'
import { plansOf } from './plans.js'
import { MemoryStorage } from './storage/memory.js'
import { probeStorage } from './storage/open.js'
import { checkCertificates } from './stream/certificate-check.js'

export interface Finding extends Problem {
  /** 'error': the server does not start, or clients and servers refuse it. 'warning': something to look at. */
  readonly level: 'error' | 'warning'
}

/**
 * Returns what is wrong around the conf, with the place in it. `modules`: those that the conf can turn on. `isRunning`:
 * a server with this conf runs and uses its ports.
 */
export async function findingsOn (
  config: Config, modules: ReadonlyMap<string, AnyModule>, isRunning: boolean,
): Promise<readonly Finding[]> {
  const { source, server } = config
  const findings: Finding[] = config.formerNames.map(({ place, text }) => ({ place, text, level: 'warning' }))
  const found = (path: Path, level: Finding['level'], text: string, atKey = false): void => {
    findings.push({ place: atKey ? source.keyPlace(path) : source.valuePlace(path), level, text })
  }
  const folder = whyNotWrite(server.data)
  if (folder !== undefined) found(['data'], 'error', `data: ${folder}`)
  await storageFindings(config, found)
  for (const { domain, isError, text } of await certificateFindings(config)) {
    found(['host', domain], isError ? 'error' : 'warning', text, true)
  }
  if (!isRunning) await portFindings(config, found)
  await moduleFindings(config, modules, found)
  return findings
}

type Found = (path: Path, level: Finding['level'], text: string, atKey?: boolean) => void

async function storageFindings ({ server: { storage } }: Config, found: Found): Promise<void> {
  if (storage.driver !== 'postgres' || storage.url === undefined) return
  try {
    await probeStorage(storage.url)
  } catch (error) {
    found(['storage', 'url'], 'error', error instanceof Error ? error.message : String(error))
  }
}

async function certificateFindings (config: Config): ReturnType<typeof checkCertificates> {
  const { hosts, server: { tls } } = config
  return await checkCertificates({
    folder: tls.certificates, oldest: tls.minVersion, domains: [...hosts.keys()], unseen: unseenServices(config),
    now: systemClock.now(),
  })
}

/** Returns the services that only this server's own users reach, through the domain of their account. */
function unseenServices ({ hosts, server: { listen } }: Config): ReadonlySet<string> {
  const isOpen = (whom: string): boolean => listen.some(one => one.for === whom)
  const found = [...hosts].filter(([, { service, federation }]) =>
    service !== undefined && !isOpen('web') && (!isOpen('servers') || federation === 'off'))
  return new Set(found.map(([domain]) => domain))
}

/** Runs the setup of each module on a host that nobody can reach, with empty stores in memory. */
async function moduleFindings (config: Config, modules: ReadonlyMap<string, AnyModule>, found: Found): Promise<void> {
  const said = new Set<string>()
  for (const plan of plansOf(config, modules)) {
    const { data } = config.server
    const server = new Server({ clock: systemClock, ids: randomIds, log: silent, storage: new MemoryStorage(), data })
    try {
      await server.rehearse(plan)
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error)
      if (!said.has(text)) found(['modules', ...error instanceof SetupError ? [error.module.name] : []], 'error', text, true)
      said.add(text)
    }
  }
}

/**
 * Checks the addresses one by one. As at a start, an address family that the machine lacks is no error if there are
 * other addresses.
 */
async function portFindings ({ server: { listen } }: Config, found: Found): Promise<void> {
  for (const [index, { address, port }] of listen.entries()) {
    for (const ip of address) {
      const code = await whyNotListen(ip, port)
      if (code === undefined || address.length > 1 && MISSING_FAMILY.has(code)) continue
      const text = WORDS[code]?.(port) ?? `cannot be used (${code})`
      found(['listen', index, 'port'], 'error', `listen[${index}].port: ${port} on ${ip} ${text}`)
    }
  }
}

/** The error codes of a machine without IPv6. */
const MISSING_FAMILY: ReadonlySet<string> = new Set(['EADDRNOTAVAIL', 'EAFNOSUPPORT'])

const WORDS: Readonly<Record<string, (port: number) => string>> = {
  EADDRINUSE: port => `is in use by another program (find it: ${finderOf(port)}): stop that program, or set another port here`,
  EACCES: () => 'is not allowed for this user: ports below 1024 need CAP_NET_BIND_SERVICE, or set another port here',
  EADDRNOTAVAIL: () => 'is not possible: this machine does not have this address',
}
