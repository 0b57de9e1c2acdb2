/**
 * The log: each line is an event name and fields, never a built sentence. Bodies, passwords and tokens are never
 * fields.
 */
import { pino } from 'pino'
import pretty from 'pino-pretty'

export type Fields = Readonly<Record<string, unknown>>

export interface Logger {
  /** True if lines of the level `debug` are written. Ask before building the fields of a line on a stanza's way. */
  readonly isDebugging: boolean
  debug (event: string, fields?: Fields): void
  info (event: string, fields?: Fields): void
  warn (event: string, fields?: Fields): void
  error (event: string, fields?: Fields): void
  /** Returns a logger that adds these fields to each of its lines. */
  with (fields: Fields): Logger
}

/** A logger whose level can change, together with the loggers that `with` made of it. */
export interface LeveledLogger extends Logger {
  /** Sets the level: lines below it are not written. */
  setLevel (level: LogLevel): void
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** The output of log lines: process.stdout, or an output of a test. */
export interface LogOutput { write (line: string): unknown }

/**
 * Opens a logger that writes lines as JSON, or in a format for people. Of a field `error` that holds an Error, it
 * writes type, message, code and stack, and no other property: those may hold addresses and secrets.
 */
export function openLogger (how: { level: LogLevel, format: 'pretty' | 'json', output: LogOutput }): LeveledLogger {
  const output = how.format === 'pretty' ? prettyStream(how.output) : how.output
  const log = pino({
    level: 'debug', // the gate decides: a child of pino would keep the level at which it was made
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: label => ({ level: label }) },
    serializers: { error: written },
  }, { write: line => { output.write(line) } })
  const gate = { least: RANK[how.level] }
  return Object.assign(over(log, gate), { setLevel: (level: LogLevel) => { gate.least = RANK[level] } })
}

const RANK: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 }

/** How many levels of causes the stack of an error shows. */
const DEEPEST = 5

function written (error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const hasCode = 'code' in error && (typeof error.code === 'string' || typeof error.code === 'number')
  const code = hasCode ? { code: error.code } : {}
  return { type: error.constructor.name, message: error.message, ...code, stack: stackOf(error, DEEPEST) }
}

function stackOf (error: Error, deepest: number): string {
  const stack = error.stack ?? `${error.name}: ${error.message}`
  const others: readonly unknown[] = error instanceof AggregateError ? error.errors.slice(0, DEEPEST) : []
  const causes = [error.cause, ...others]
  const shown = deepest === 0 ? [] : causes.filter(cause => cause instanceof Error)
  return [stack, ...shown.map(cause => stackOf(cause, deepest - 1))].join('\ncaused by: ')
}

/** A logger that writes nothing. */
export const silent: Logger = {
  isDebugging: false, debug () {}, info () {}, warn () {}, error () {}, with: () => silent,
}

/** Writes one line for each event: its name, then its fields. The stack of an error follows, indented. */
function prettyStream (output: LogOutput): LogOutput {
  const format = pretty.prettyFactory({
    colorize: 'isTTY' in output && output.isTTY === true,
    translateTime: 'SYS:HH:MM:ss',
    ignore: 'pid,hostname',
    hideObject: true,
    messageFormat: (line, key, _level, { colors }) => {
      const fields = Object.entries(line).filter(([name]) => !BARE.has(name)).map(([name, value]) => field(name, value))
      const texts = fields.map(({ text }) => colors.dim(text))
      return [String(line[key]), ...texts].join('  ') + fields.map(({ below }) => below).join('')
    },
  })
  return { write: line => output.write(format(JSON.parse(line, harmless))) }
}

/** Texts that are clear without quotes. */
const PLAIN = /^[\w.:@/+-]+$/

function field (name: string, value: unknown): { readonly text: string, readonly below: string } {
  if (typeof value === 'object' && value !== null && 'stack' in value && typeof value.stack === 'string') {
    const { stack, ...rest } = value
    const below = stack.split('\n').map(line => `\n    ${line.trimStart()}`).join('')
    return { text: `${name}=${JSON.stringify(rest)}`, below }
  }
  const text = typeof value === 'string' && PLAIN.test(value) ? value : JSON.stringify(value)
  return { text: `${name}=${text}`, below: '' }
}

/** Fields that the formatter writes itself, without quotes. */
const BARE: ReadonlySet<string> = new Set(['msg', 'name', 'caller', 'time', 'level'])

/**
 * Escapes control characters. Strangers choose some of these texts: they must not begin a new line or control the
 * terminal.
 */
function harmless (key: string, value: unknown): unknown {
  if (typeof value !== 'string') return value
  // A stack has lines, and is indented. In quotes, JSON has already escaped the characters up to 0x1f.
  const others = key === 'stack' ? /[\0-\x09\x0b-\x1f\x7f-\x9f]/g : /[\x7f-\x9f]/g
  const control = BARE.has(key) ? /[\0-\x1f\x7f-\x9f]/g : others
  return value.replace(control, character => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`)
}

function over (log: pino.Logger, gate: { readonly least: number }): Logger {
  return {
    get isDebugging () { return gate.least <= RANK.debug },
    debug: (event, fields) => { if (gate.least <= RANK.debug) log.debug(fields ?? {}, event) },
    info: (event, fields) => { if (gate.least <= RANK.info) log.info(fields ?? {}, event) },
    warn: (event, fields) => { if (gate.least <= RANK.warn) log.warn(fields ?? {}, event) },
    error: (event, fields) => { log.error(fields ?? {}, event) },
    with: fields => over(log.child(fields), gate),
  }
}
