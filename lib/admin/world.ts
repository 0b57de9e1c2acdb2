/** The parts of the server that an operator's commands can use. */
import type { LinkReport } from '../host/link-report.js'
import type { Server } from '../host/server.js'
import type { Count, Labels } from '../base/counters.js'

/** The connections to other servers, if the server has any. */
export interface FederationAdmin {
  report (): readonly LinkReport[]
  /** The counters of these connections, each with a help text. */
  numbers (): Iterable<Count & { readonly help: string }>
  /** Tests the connection from a host to another domain; returns a line for each step. */
  test (local: string, remote: string): Promise<readonly { readonly ok: boolean }[]>
}

/** The parts of the server that commands can use. */
export interface AdminDeps {
  readonly server: Server
  /** The part of the status that is not about hosts: connections, certificates. */
  status (): Readonly<Record<string, unknown>>
  /** The metrics of connections and certificates, and of the process. */
  measures (): Iterable<Metric>
  /** Undefined if the server does not talk to other servers. */
  readonly federation: FederationAdmin | undefined
  /** Applies the conf file; returns the names of changed settings that need a restart. */
  reload (): Promise<readonly string[]>
  /** Returns a line for each setting of the conf in force that is written by a former name. */
  warnings (): readonly string[]
  /** Stops the server; resolves after everything acknowledged is stored. The reply can still be sent afterwards. */
  stop (): Promise<void>
}

/** A number with a name. A counter only grows; it begins at 0 when the server starts. */
export interface Metric {
  readonly name: string
  readonly kind: 'counter' | 'gauge'
  readonly help: string
  readonly value: number
  readonly labels?: Labels
}
