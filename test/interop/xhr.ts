/** The part of XMLHttpRequest that strophe.js uses for BOSH, by fetch. Node has none of its own. */
import { DOMParser } from '@xmldom/xmldom'

const UNSENT = 0, OPENED = 1, DONE = 4

export class FetchRequest {
  onreadystatechange: (() => void) | undefined
  readyState = UNSENT
  status = 0
  responseText = ''
  responseXML: unknown = null
  #url = ''
  #method = ''
  readonly #headers: Record<string, string> = {}
  readonly #abort = new AbortController()

  open (method: string, url: string): void {
    this.#method = method
    this.#url = url
    this.readyState = OPENED
  }

  setRequestHeader (name: string, value: string): void { this.#headers[name] = value }
  getAllResponseHeaders (): string { return '' }
  overrideMimeType (): void { /* the answer is read as text in any case */ }
  abort (): void { this.#abort.abort() }

  send (body: string): void {
    const { signal } = this.#abort
    fetch(this.#url, { method: this.#method, headers: this.#headers, body, signal }).then(async answer => {
      this.responseText = await answer.text()
      this.responseXML = new DOMParser().parseFromString(this.responseText, 'text/xml')
      this.status = answer.status
    }).catch(() => undefined).finally(() => { // without an answer the status is 0
      this.readyState = DONE
      if (!signal.aborted) this.onreadystatechange?.()
    })
  }
}
