/** The settings of a listener for other servers. */

export interface ServerListenerSettings {
  readonly tls: 'required' | 'direct' | 'none'
  /** Bytes of the largest stanza. */
  readonly stanza: number
  /** The average bytes per second that a connection may send. */
  readonly rate: number
}
