/** The text that a server prints at a terminal when it has started: how to add a user, and how to connect. */
import pc from 'picocolors'

/** The facts in the greeting. */
export interface Greeting {
  readonly version: string
  readonly domains: readonly string[]
  readonly listening: readonly { readonly port: number, readonly tls: 'required' | 'direct' | 'none' }[]
  /** The SHA-256 fingerprint of the first domain's certificate, if the certificate is self-signed. */
  readonly fingerprint: string | undefined
  /** Returns the command line for some words, with `--conf` if the command would not find the conf file without it. */
  readonly command: (words: string) => string
}

const KINDS = { required: 'STARTTLS', direct: 'TLS', none: 'no TLS' } as const

/** Returns the greeting as lines for a terminal. */
export function greeting ({ version, domains, listening, fingerprint, command }: Greeting): string {
  const [domain = 'localhost'] = domains
  const ports = [...new Set(listening.map(({ port, tls }) => `${port} (${KINDS[tls]})`))]
  const lines = [
    pc.bold(`Sestina ${version} serves ${domains.join(', ')}`),
    row('add a user', command(`user add you@${domain}`)),
    row('connect', `any XMPP client, as you@${domain}, port ${ports.join(' or ')}`),
    ...fingerprint === undefined ? [] : [row('', 'the certificate is self-signed: most clients ask once whether to trust it; Dino refuses it (see README.md)'), row('', fingerprint)],
    row('stop', 'Ctrl-C'),
  ]
  return `\n${lines.join('\n')}\n\n`
}

function row (name: string, text: string): string {
  return `  ${pc.dim(name.padEnd(12))}${text}`
}
