/** Other servers that are played by hand, over real sockets with TLS. Each proves its domain by a certificate. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { GeneralName } from '@peculiar/asn1-x509'
import { makeAuthority, type Authority } from '../auth/authority.js'
import { RawClient } from './peer.js'
import { DOMAIN, type ServerProcess } from './server.js'

const AUTHORITIES = 'authorities'

/** Conf lines for a listener for other servers, which trusts the authority of the neighbours and asks no DNS. */
export const FOR_NEIGHBOURS = `[federation]
authorities = "${AUTHORITIES}"
resolver = ["127.0.0.1:1"]
[[listen]]
for = "servers"
address = ["127.0.0.1"]
port = 0
tls = "direct"
`

const header = (domain: string, to: string): string => "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' " +
  `xmlns:db='jabber:server:dialback' version='1.0' from='${domain}' to='${to}'>`

export class Neighbours {
  readonly #authority: Authority

  /** Writes the certificate of their authority to the folder of a server that is started later. */
  static async make (folder: string): Promise<Neighbours> {
    const authority = await makeAuthority('Verona')
    mkdirSync(join(folder, AUTHORITIES), { recursive: true })
    writeFileSync(join(folder, AUTHORITIES, 'verona.pem'), authority.certificate)
    return new Neighbours(authority)
  }

  private constructor (authority: Authority) { this.#authority = authority }

  /** Opens a stream of a domain to a domain of the server, which carries stanzas in both directions (XEP-0288). */
  async comes (server: ServerProcess, domain: string, from: string, to = DOMAIN): Promise<RawClient> {
    const { certificate, key } = await this.#authority.issue({ names: [new GeneralName({ dNSName: domain })] })
    const peer = await RawClient.at(server.serverPort, from)
    await peer.encrypts({ cert: certificate, key, ALPNProtocols: ['xmpp-server'] })
    peer.says(header(domain, to))
    await peer.gets('</stream:features>')
    peer.says("<bidi xmlns='urn:xmpp:bidi'/><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")
    await peer.gets('<success')
    peer.says(header(domain, to))
    await peer.gets('</stream:features>')
    return peer
  }
}
