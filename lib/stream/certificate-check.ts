/** Finds problems with the certificates of a conf before a start. Makes and changes nothing. */
import { join } from 'node:path'
import { CertificateError, filesIn, isOpenToAll, pairIn, readPair, usable, type Usable } from './certificate-files.js'
import { asciiOf, MOST_FOLDERS, SOON, wildcardOf } from './certificates.js'

export interface CertificateFinding {
  readonly domain: string
  /** True if clients cannot use the certificate; otherwise the finding is a warning. */
  readonly isError: boolean
  /** The problem, and the remedy. */
  readonly text: string
}

/** The remedy if only one of the two files is there. */
const HALF = 'there is a certificate without its key, or a key without its certificate: ' +
  'put fullchain.pem and privkey.pem there'

interface Asked {
  /** A folder that holds one folder per domain. */
  readonly folder: string
  readonly domains: readonly string[]
  /** Those of the domains to which nobody connects. They need no certificate; one that is there must be right. */
  readonly unseen?: ReadonlySet<string>
  readonly oldest: 'TLSv1.2' | 'TLSv1.3'
  /** In milliseconds since 1970. */
  readonly now: number
}

/** The content of one folder: a certificate, or the reason why it cannot be used. */
type Held = { readonly file: string, readonly key: string, readonly used: Usable } | { readonly trouble: string }

/** Returns what is wrong with the certificate of each domain. Never throws. */
export async function checkCertificates (asked: Asked): Promise<readonly CertificateFinding[]> {
  const { folder, domains } = asked
  try {
    const held = new Map<string, Held>()
    for (const name of (await filesIn(folder)).slice(0, MOST_FOLDERS)) {
      const found = await heldIn(join(folder, name), asked)
      if (found !== undefined) held.set(name, found)
    }
    return (await Promise.all(domains.map(domain => findingsOn(domain, held, asked)))).flat()
  } catch (error) {
    const text = `the certificates in ${folder} cannot be read: ${messageOf(error)}`
    return domains.slice(0, 1).map(domain => ({ domain, isError: true, text }))
  }
}

async function heldIn (folder: string, { oldest }: Asked): Promise<Held | undefined> {
  try {
    const files = await pairIn(folder)
    if (files === 'none') return undefined
    if (files === 'half') return { trouble: HALF }
    return { file: files.certificate, key: files.key, used: usable(await readPair(files), { oldest, authorities: [] }) }
  } catch (error) {
    if (error instanceof CertificateError) return { trouble: error.message }
    return { trouble: `${messageOf(error)}: the files have to be readable for the user who runs the server` }
  }
}

async function findingsOn (
  domain: string, all: ReadonlyMap<string, Held>, { folder, now, unseen }: Asked,
): Promise<CertificateFinding[]> {
  const ascii = asciiOf(domain) ?? domain
  const own = [...all].find(([name]) => name === domain || asciiOf(name) === ascii)
  const place = join(folder, own?.[0] ?? ascii)
  const held = own?.[1] ?? coveringIn(all, ascii)
  if (held === undefined) {
    if (unseen?.has(domain) === true) return []
    const text = `there is no certificate for ${domain}: the server makes a self-signed one, ` +
      `which clients warn about and other servers may refuse; put fullchain.pem and privkey.pem into ${place}`
    return [{ domain, isError: false, text }]
  }
  if ('trouble' in held) {
    return [{ domain, isError: true, text: `the certificate in ${place} cannot be used: ${held.trouble}` }]
  }
  const faults = await faultsOf(held, ascii, now)
  return faults.map(({ isError, text }) => ({ domain, isError, text: `${held.file} ${text}` }))
}

/**
 * Returns the certificate in another domain's folder that names this domain; of several, the one that is valid for
 * longest.
 */
function coveringIn (all: ReadonlyMap<string, Held>, ascii: string): Held | undefined {
  return [...all.values()].flatMap(held => 'used' in held && covers(held.used, ascii) ? [held] : [])
    .sort((a, b) => b.used.notAfter - a.used.notAfter)[0]
}

/** RFC 9525 §6.3 */
function covers ({ names }: Usable, ascii: string): boolean {
  return names.includes(ascii) || names.includes(wildcardOf(ascii))
}

async function faultsOf (
  { key, used }: Exclude<Held, { readonly trouble: string }>, ascii: string, now: number,
): Promise<readonly { readonly isError: boolean, readonly text: string }[]> {
  const { names, notBefore, notAfter, disorder } = used
  const faults: { isError: boolean, text: string }[] = []
  const found = (isError: boolean, text: string): void => { faults.push({ isError, text }) }
  const named = names.length === 0 ? 'for no domain at all' : `for ${names.slice(0, 5).join(', ')}`
  if (!covers(used, ascii)) found(true, `is ${named}, not for ${ascii}: put the certificate of ${ascii} there`)
  if (now >= notAfter) found(true, `has expired on ${dayOf(notAfter)}: renew it`)
  else if (now > notAfter - SOON) found(false, `expires on ${dayOf(notAfter)}: see why it is not renewed`)
  if (now < notBefore) {
    found(true, `is not valid before ${dayOf(notBefore)}: see whether the clock of this machine is right`)
  }
  if (disorder !== undefined) found(true, `has ${disorder}`)
  if (await isOpenToAll(key)) found(false, `has a key that anyone on this machine may read: chmod 600 ${key}`)
  return faults
}

function dayOf (time: number): string { return new Date(time).toISOString().replace(/T.*/, '') }

function messageOf (error: unknown): string { return error instanceof Error ? error.message : String(error) }
