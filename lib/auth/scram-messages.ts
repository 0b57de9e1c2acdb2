/** The client's two messages of SCRAM (RFC 5802 §7), read to the letter: order, alphabet and bounds. */
import { strictBase64, strictText } from './base64.js'
import { SaslFault } from './fault.js'

export interface ClientFirst {
  /** "n": cannot bind; "y": could, and thinks the server cannot; "p": does. */
  readonly flag: 'n' | 'y' | 'p'
  /** The type of channel binding behind `p=`. */
  readonly type: string | undefined
  /** The authorization identity; empty where there is none. */
  readonly identity: string
  readonly username: string
  readonly nonce: string
  /** The gs2 header with its last comma, as it came. */
  readonly header: string
  /** The message without that header, as it came. */
  readonly bare: string
}

export interface ClientFinal {
  readonly binding: Buffer
  readonly nonce: string
  readonly proof: Buffer
  /** The message up to the comma before the proof, as it came. */
  readonly withoutProof: string
}

/** Reads `n,a=…,n=…,r=…`. Throws SaslFault. */
export function parseClientFirst (message: Uint8Array): ClientFirst {
  const text = textOf(message)
  const [, header, flag, type, identity, bare] = GS2.exec(text) ?? malformed('not a first message of SCRAM')
  if (header === undefined || bare === undefined) return malformed('not a first message of SCRAM')
  // RFC 5802 §5.1: an extension that must be understood, and none is defined.
  if (bare.startsWith('m=')) return malformed('extensions-not-supported')
  const [, username, nonce, extensions] = BARE.exec(bare) ?? malformed('not a first message of SCRAM')
  if (username === undefined || nonce === undefined) return malformed('not a first message of SCRAM')
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

/** Reads `c=…,r=…,p=…`. Throws SaslFault. */
export function parseClientFinal (message: Uint8Array): ClientFinal {
  const [, withoutProof, bound, nonce, extensions, proved] = FINAL.exec(textOf(message)) ?? malformed('not a final message of SCRAM')
  const binding = strictBase64(bound ?? '')
  const proof = strictBase64(proved ?? '')
  if (withoutProof === undefined || nonce === undefined || !binding?.length || !proof?.length) {
    return malformed('not a final message of SCRAM')
  }
  checkExtensions(extensions)
  return { binding, nonce, proof, withoutProof }
}

/** A name of 1023 bytes with all of it escaped, twice, and a binding in base64. */
const MOST = 8192
/** RFC 5802 §5.1: printable ASCII but the comma. More than any client sends, and a bound for what we keep. */
const NONCE = '[\\x21-\\x2b\\x2d-\\x7e]{1,512}'
const REST = '((?:,[^,]*)*)'

const GS2 = new RegExp('^((n|y|p=([A-Za-z0-9.-]{1,64})),(?:a=([^,]{1,3100}))?,)(.*)$', 's')
const BARE = new RegExp(`^n=([^,]{1,3100}),r=(${NONCE})${REST}$`)
const FINAL = new RegExp(`^(c=([^,]{1,6000}),r=(${NONCE})${REST}),p=([^,]{1,200})$`)
/** attr-val: a letter, and something that is neither NUL nor a comma. */
const EXTENSION = /^[A-Za-z]=[^\0,]+$/
/** Attributes that have a place of their own in the client's messages, or must be understood. */
const TAKEN = /^[acmnpr]=/

function checkExtensions (list: string | undefined): void {
  for (const extension of list?.split(',').slice(1) ?? []) {
    if (!EXTENSION.test(extension)) malformed('not an extension of SCRAM')
    if (TAKEN.test(extension)) malformed('an attribute stands in the wrong place')
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
