/** What whoever starts the server at a terminal wants to know first: how to add a user, and how to connect. */
import pc from 'picocolors'

export interface Greeting {
  readonly version: string
  readonly domains: readonly string[]
  readonly listening: readonly { readonly port: number, readonly tls: 'required' | 'direct' | 'none' }[]
  /** Of the first domain's certificate (SHA-256), where it is one that no client trusts by itself. */
  readonly fingerprint: string | undefined
  /** The command as it is called here, with the conf file where that has to be named. */
  readonly command: (words: string) => string
}

const KINDS = { required: 'STARTTLS', direct: 'TLS', none: 'no TLS' } as const

export function greeting ({ version, domains, listening, fingerprint, command }: Greeting): string {
  const [domain = 'localhost'] = domains
  const ports = [...new Set(listening.map(({ port, tls }) => `${port} (${KINDS[tls]})`))]
  const lines = [
    pc.bold(`Sestina ${version} serves ${domains.join(', ')}`),
    row('add a user', command(`user add you@${domain}`)),
    row('connect', `any XMPP client, as you@${domain}, port ${ports.join(' or ')}`),
    ...fingerprint === undefined ? [] : [row('', 'the certificate is self-signed: most clients ask once whether to trust it; Dino refuses, and README.md says what to do'), row('', fingerprint)],
    row('stop', 'Ctrl-C'),
  ]
  return `\n${lines.join('\n')}\n\n`
}

function row (name: string, text: string): string {
  return `  ${pc.dim(name.padEnd(12))}${text}`
}
