/** Takes files (XEP-0363 §7): a PUT to the address of a slot, good for one success. */
import type { Clock, Logger, WebAnswer, WebRequest } from '../../lib/api.js'
import { mediaType } from './names.js'
import type { Rules } from './rules.js'
import type { Claim, Signatures } from './signature.js'
import type { Stock } from './stock.js'
import type { Upload } from './uploads.js'

/** The most files that come at the same time, of one account and of all. */
const AT_ONCE = 10
const ALL_AT_ONCE = 500
/** The errors of a client that goes away in the middle, and of a disk that is full. */
const GONE = ['ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE']
const FULL = ['ENOSPC', 'EDQUOT']
/** When a client may try again if too many files are coming, in seconds. */
const LATER = '10'

export interface ReceivingDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly stock: Stock
  readonly rules: Rules
  readonly signatures: Signatures
  readonly count: (metric: 'received' | 'broken') => void
}

/** A file that is coming. */
interface Coming { readonly account: string, readonly stop: AbortController }

export class Receiving {
  readonly #deps: ReceivingDeps
  readonly #coming = new Map<string, Coming>()

  constructor (deps: ReceivingDeps) { this.#deps = deps }

  /** True if the request may be answered: it has the signature of the slot in its path, and the slot has not ended. */
  async mayCall (request: WebRequest): Promise<boolean> { return await this.#claimIn(request) !== undefined }

  async answer (request: WebRequest): Promise<WebAnswer> {
    const claim = await this.#claimIn(request)
    if (claim === undefined) return { status: 403 }
    const slot = await this.#deps.stock.find(claim.id)
    if (slot?.account !== claim.account || slot.name !== request.params['name']) return { status: 404 }
    const refused = refusal(slot, request)
    if (refused !== undefined) return { status: refused }
    // A client that has lost its connection comes back before the server knows: the former attempt ends.
    this.#coming.get(slot.id)?.stop.abort()
    if (!this.#hasRoom(slot)) return { status: 503, headers: { 'retry-after': LATER } }
    const coming = { account: slot.account, stop: new AbortController() }
    this.#coming.set(slot.id, coming)
    try {
      return await this.#receive(slot, request, coming.stop.signal)
    } finally {
      if (this.#coming.get(slot.id) === coming) this.#coming.delete(slot.id)
    }
  }

  /** True if the file of this slot is coming: the slot stays until it has come. */
  isComing (id: string): boolean { return this.#coming.has(id) }

  /** Ends what is coming for an account. */
  stop (account: string): void {
    for (const coming of this.#coming.values()) if (coming.account === account) coming.stop.abort()
  }

  async #receive (slot: Upload, request: WebRequest, stop: AbortSignal): Promise<WebAnswer> {
    const { clock, log, stock, rules, count } = this.#deps
    try {
      const received = await stock.files.receive(stock.placeOf(slot), request.body, stop)
      const { due, ...lasting } = slot
      const end = rules.due(slot, clock.now())
      const type = slot.type === '' ? typeOf(request) ?? 'application/octet-stream' : slot.type
      const filled: Upload = { ...lasting, type, state: 'file', ...end === undefined ? {} : { due: end } }
      if (!await stock.fill(slot, filled, received)) return { status: 409 }
      count('received')
      log.info('file received', { account: slot.account, id: slot.id, bytes: slot.size })
      return { status: 201 }
    } catch (error) {
      if (stop.aborted || isOneOf(error, GONE)) {
        count('broken')
        return { status: 400 }
      }
      log.error('file not received', { id: slot.id, error })
      return { status: isOneOf(error, FULL) ? 507 : 500 }
    }
  }

  #hasRoom ({ id, account }: Upload): boolean {
    if (this.#coming.has(id)) return true
    const own = [...this.#coming.values()].filter(coming => coming.account === account)
    return this.#coming.size < ALL_AT_ONCE && own.length < AT_ONCE
  }

  async #claimIn ({ header, params }: WebRequest): Promise<Claim | undefined> {
    const claim = await this.#deps.signatures.read(header('authorization'))
    return claim?.id === params['id'] && claim !== undefined && claim.until > this.#deps.clock.now() ? claim : undefined
  }
}

/** Returns the status if the file is not the one that the slot is for. */
function refusal ({ state, size, type }: Upload, request: WebRequest): number | undefined {
  if (state === 'file') return 409
  // XEP-0363 §7: the length must match the request for the slot.
  const length = Number(request.header('content-length') ?? NaN)
  if (length !== size) return length > size ? 413 : 400
  const given = request.header('content-type')
  return type !== '' && given !== undefined && typeOf(request) !== type ? 415 : undefined
}

function typeOf (request: WebRequest): string | undefined { return mediaType(request.header('content-type') ?? '') }

function isOneOf (error: unknown, codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code)
}
