/** XEP-0198 without a stream, for clients, servers and modules. */
export * from './counters.js'
export * from './elements.js'
export * from './inbound.js'
export * from './outbound.js'
export * from './request-loop.js'
export * from './resume-table.js'
export * from './unacknowledged.js'
