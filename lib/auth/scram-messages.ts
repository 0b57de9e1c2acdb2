/** Parses the client's two SCRAM messages (RFC 5802 §7) strictly: order, alphabet and bounds. */
import { strictBase64, strictText } from './base64.js'
import { SaslFault } from './fault.js'

export interface ClientFirst {
  /** "n": the client cannot bind; "y": it can, and thinks that the server cannot; "p": it does. */
  readonly flag: 'n' | 'y' | 'p'
  /** The type of channel binding after `p=`. */
  readonly type: string | undefined
  /** The authorization identity; empty if there is none. */
  readonly identity: string
  readonly username: string
  readonly nonce: string
  /** The gs2 header with its last comma, unchanged. */
  readonly header: string
  /** The message without that header, unchanged. */
  readonly bare: string
}

export interface ClientFinal {
  readonly binding: Buffer
  readonly nonce: string
  readonly proof: Buffer
  /** The message up to the comma before the proof, unchanged. */
  readonly withoutProof: string
}

/** Parses `n,a=…,n=…,r=…`. Throws SaslFault. */
export function parseClientFirst (message: Uint8Array): ClientFirst {
  const text = textOf(message)
  const [, header, flag, type, identity, bare] = GS2.exec(text) ?? malformed('malformed first SCRAM message')
  if (header === undefined || bare === undefined) return malformed('malformed first SCRAM message')
  // RFC 5802 §5.1: a mandatory extension; none is defined.
  if (bare.startsWith('m=')) return malformed('extensions-not-supported')
  const [, username, nonce, extensions] = BARE.exec(bare) ?? malformed('malformed first SCRAM message')
  if (username === undefined || nonce === undefined) return malformed('malformed first SCRAM message')
  checkExtensions(extensions)
  return {
    flag: flag === 'n' || flag === 'y' ? flag : 'p',
    type,
    identity: unescape(identity ?? ''),
    username: unescape(username),
    nonce,
    header,
    bare,
  }
}

/** Parses `c=…,r=…,p=…`. Throws SaslFault. */
export function parseClientFinal (message: Uint8Array): ClientFinal {
  const parts = FINAL.exec(textOf(message)) ?? malformed('malformed final SCRAM message')
  const [, withoutProof, bound, nonce, extensions, proved] = parts
  const binding = strictBase64(bound ?? '')
  const proof = strictBase64(proved ?? '')
  if (withoutProof === undefined || nonce === undefined || !binding?.length || !proof?.length) {
    return malformed('malformed final SCRAM message')
  }
  checkExtensions(extensions)
  return { binding, nonce, proof, withoutProof }
}

/** The most bytes in a message: room for two names of 1023 bytes in escaped form, and a binding in base64. */
const MOST = 8192
/** RFC 5802 §5.1: printable ASCII except the comma. Longer than any client's nonce, and a bound for what is kept. */
const NONCE = '[\\x21-\\x2b\\x2d-\\x7e]{1,512}'
const REST = '((?:,[^,]*)*)'

const GS2 = new RegExp('^((n|y|p=([A-Za-z0-9.-]{1,64})),(?:a=([^,]{1,3100}))?,)(.*)$', 's')
const BARE = new RegExp(`^n=([^,]{1,3100}),r=(${NONCE})${REST}$`)
const FINAL = new RegExp(`^(c=([^,]{1,6000}),r=(${NONCE})${REST}),p=([^,]{1,200})$`)
/** attr-val: a letter, and a value without NUL and comma. */
const EXTENSION = /^[A-Za-z]=[^\0,]+$/
/** Attributes that have a fixed place in the client's messages, or are mandatory extensions. */
const TAKEN = /^[acmnpr]=/

function checkExtensions (list: string | undefined): void {
  for (const extension of list?.split(',').slice(1) ?? []) {
    if (!EXTENSION.test(extension)) malformed('malformed SCRAM extension')
    if (TAKEN.test(extension)) malformed('a SCRAM attribute is in the wrong place')
  }
}

function textOf (message: Uint8Array): string {
  const text = message.length > MOST ? undefined : strictText(message)
  return text === undefined || text.includes('\0') ? malformed('invalid-encoding') : text
}

/** RFC 5802 §5.1: `=2C` is a comma, `=3D` an equals sign, and any other `=` is an error. */
function unescape (name: string): string {
  if (/=(?!2C|3D)/.test(name)) return malformed('invalid-username-encoding')
  return name.replaceAll('=2C', ',').replaceAll('=3D', '=')
}

function malformed (reason: string): never {
  throw new SaslFault('malformed-request', reason)
}
