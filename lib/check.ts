/** What `sestina check` looks at beside the conf file itself: all that a start would meet. Nothing is made or changed. */
import { systemClock } from './base/clock.js'
import { whyNotListen, whyNotWrite } from './admin/probe.js'
import type { Config } from './config/load.js'
import type { Problem } from './config/problem.js'
import type { Path } from './config/read.js'
import { probeStorage } from './storage/open.js'
import { checkCertificates } from './stream/certificate-check.js'

export interface Finding extends Problem {
  /** 'error': the server does not start, or clients and servers refuse it. 'warning': worth a look. */
  readonly level: 'error' | 'warning'
}

/** What is wrong around the conf, with its place there. `isRunning`: a server runs with this conf, and has its ports and its data. */
export async function findingsOn (config: Config, isRunning: boolean): Promise<readonly Finding[]> {
  const { source, server } = config
  const findings: Finding[] = []
  const found = (path: Path, level: Finding['level'], text: string, atKey = false): void => {
    findings.push({ place: atKey ? source.keyPlace(path) : source.valuePlace(path), level, text })
  }
  const folder = whyNotWrite(server.data)
  if (folder !== undefined) found(['data'], 'error', `data: ${folder}`)
  await storageFindings(config, found)
  for (const { domain, isError, text } of await certificateFindings(config)) found(['host', domain], isError ? 'error' : 'warning', text, true)
  if (!isRunning) await portFindings(config, found)
  return findings
}

type Found = (path: Path, level: Finding['level'], text: string) => void

async function storageFindings ({ server: { storage } }: Config, found: Found): Promise<void> {
  if (storage.driver !== 'postgres' || storage.url === undefined) return
  try {
    await probeStorage(storage.url)
  } catch (error) {
    found(['storage', 'url'], 'error', error instanceof Error ? error.message : String(error))
  }
}

async function certificateFindings ({ hosts, server: { tls } }: Config): ReturnType<typeof checkCertificates> {
  return await checkCertificates({ folder: tls.certificates, oldest: tls.oldest, domains: [...hosts.keys()], now: systemClock.now() })
}

/** Addresses are tried one by one: one that this machine does not have is a warning beside others, as at a start. */
async function portFindings ({ server: { listen } }: Config, found: Found): Promise<void> {
  for (const [index, { address, port }] of listen.entries()) {
    for (const ip of address) {
      const code = await whyNotListen(ip, port)
      if (code === undefined || address.length > 1 && MISSING_FAMILY.has(code)) continue
      found(['listen', index, 'port'], 'error', `listen[${index}].port: ${port} on ${ip} ${WORDS[code] ?? `cannot be had (${code})`}`)
    }
  }
}

/** A machine without IPv6. */
const MISSING_FAMILY: ReadonlySet<string> = new Set(['EADDRNOTAVAIL', 'EAFNOSUPPORT'])

const WORDS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'is in use by another program: stop that, or set another port here',
  EACCES: 'is not for this user: ports below 1024 need CAP_NET_BIND_SERVICE, or set another port here',
  EADDRNOTAVAIL: 'is not possible: this machine does not have that address',
}
