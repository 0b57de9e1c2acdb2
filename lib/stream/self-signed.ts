/** Makes self-signed certificates, ECDSA P-256, with the names of RFC 6120 §13.7.1.2, for domains that have none. */
import 'reflect-metadata'
import { randomBytes, webcrypto } from 'node:crypto'
import { AsnConvert, AsnProp, AsnPropTypes, AsnType, AsnTypeTypes } from '@peculiar/asn1-schema'
import { GeneralName, id_ce_subjectAltName, OtherName, SubjectAlternativeName } from '@peculiar/asn1-x509'
import * as x509 from '@peculiar/x509'
import { shortened } from '../base/text.js'

/** A certificate and its key, both as PEM. */
export interface CertificateAndKey { readonly certificate: string, readonly key: string }

const DAY = 86_400_000
/** Users trust such a certificate by its bytes, so a new one would only make their clients ask again. */
const YEARS = 10

/** Makes a key and a certificate for a domain. `ascii`: the domain as in DNS. `now`: milliseconds since 1970. */
export async function selfSigned (domain: string, ascii: string, now: number): Promise<CertificateAndKey> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    // A common name has at most 64 characters (RFC 5280 A.1); nobody compares it.
    name: [{ CN: [shortened(ascii, 64)] }],
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    // The clocks of peers may be slow.
    notBefore: new Date(now - DAY),
    notAfter: new Date(now + YEARS * 365.25 * DAY),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      // The same certificate identifies this server to other servers.
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.Extension(id_ce_subjectAltName, false, AsnConvert.serialize(names(domain, ascii))),
    ],
  }, webcrypto)
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey))
  return { certificate: `${certificate.toString('pem')}\n`, key: pem('PRIVATE KEY', key) }
}

/** Returns 64 random bits as a positive number (RFC 5280 §4.1.2.2). */
function serialNumber (): string {
  return `01${randomBytes(8).toString('hex')}`
}

function names (domain: string, ascii: string): SubjectAlternativeName {
  // RFC 4985
  const service = (name: string): GeneralName => otherName('1.3.6.1.5.5.7.8.7', new Ia5Text(`_${name}.${ascii}`))
  return new SubjectAlternativeName([
    new GeneralName({ dNSName: ascii }),
    service('xmpp-client'),
    service('xmpp-server'),
    otherName('1.3.6.1.5.5.7.8.5', new Utf8Text(domain)),
  ])
}

function otherName (typeId: string, value: object): GeneralName {
  return new GeneralName({ otherName: new OtherName({ typeId, value: AsnConvert.serialize(value) }) })
}

class Utf8Text {
  text: string
  constructor (text = '') { this.text = text }
}
AsnType({ type: AsnTypeTypes.Choice })(Utf8Text)
AsnProp({ type: AsnPropTypes.Utf8String })(Utf8Text.prototype, 'text')

class Ia5Text {
  text: string
  constructor (text = '') { this.text = text }
}
AsnType({ type: AsnTypeTypes.Choice })(Ia5Text)
AsnProp({ type: AsnPropTypes.IA5String })(Ia5Text.prototype, 'text')

function pem (label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
