/** An event name and fields, never a built sentence. Bodies, passwords and tokens are never fields. */
import { pino } from 'pino'
import pretty from 'pino-pretty'

export type Fields = Readonly<Record<string, unknown>>

export interface Logger {
  debug (event: string, fields?: Fields): void
  info (event: string, fields?: Fields): void
  warn (event: string, fields?: Fields): void
  error (event: string, fields?: Fields): void
  /** A logger that adds these fields to each of its lines. */
  with (fields: Fields): Logger
}

/** A logger whose level can change; what `with` made of it changes along. */
export interface LeveledLogger extends Logger {
  /** From now on lines below this level are not written. */
  setLevel (level: LogLevel): void
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** Where lines go: process.stdout, or what a test hands in. */
export interface LogOutput { write (line: string): unknown }

/** A logger whose lines are JSON, or made for the eyes of a person. Field `error` is written with its stack. */
export function openLogger (how: { level: LogLevel, format: 'pretty' | 'json', output: LogOutput }): LeveledLogger {
  const output = how.format === 'pretty' ? prettyStream(how.output) : how.output
  const log = pino({
    level: 'debug', // the gate decides: a child of pino would keep the level that it was made with
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: label => ({ level: label }) },
    serializers: { error: pino.stdSerializers.err },
  }, { write: line => { output.write(line) } })
  const gate = { least: RANK[how.level] }
  return { ...over(log, gate), setLevel: level => { gate.least = RANK[level] } }
}

const RANK: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 }

/** Says nothing. */
export const silent: Logger = { debug () {}, info () {}, warn () {}, error () {}, with: () => silent }

/** One line an event: its name, then its fields; the stack of an error below, indented. */
function prettyStream (output: LogOutput): LogOutput {
  const format = pretty.prettyFactory({
    colorize: 'isTTY' in output && output.isTTY === true,
    translateTime: 'SYS:HH:MM:ss',
    ignore: 'pid,hostname',
    hideObject: true,
    messageFormat: (line, key, _level, { colors }) => {
      const fields = Object.entries(line).filter(([name]) => !BARE.has(name)).map(([name, value]) => field(name, value))
      return [String(line[key]), ...fields.map(({ text }) => colors.dim(text))].join('  ') + fields.map(({ below }) => below).join('')
    },
  })
  return { write: line => output.write(format(JSON.parse(line, harmless))) }
}

/** Texts that need no quotes to be told from what is around them. */
const PLAIN = /^[\w.:@/+-]+$/

function field (name: string, value: unknown): { readonly text: string, readonly below: string } {
  if (typeof value === 'object' && value !== null && 'stack' in value && typeof value.stack === 'string') {
    const { stack, ...rest } = value
    return { text: `${name}=${JSON.stringify(rest)}`, below: stack.split('\n').map(line => `\n    ${line.trimStart()}`).join('') }
  }
  return { text: `${name}=${typeof value === 'string' && PLAIN.test(value) ? value : JSON.stringify(value)}`, below: '' }
}

/** What the formatter writes by itself, without quotes. */
const BARE: ReadonlySet<string> = new Set(['msg', 'name', 'caller', 'time', 'level'])

/** Strangers choose some of these texts: none of them may begin a line of its own, or speak to the terminal. */
function harmless (key: string, value: unknown): unknown {
  if (typeof value !== 'string') return value
  // A stack has lines, and is indented; in quotes JSON has escaped all but the last of these already.
  const control = BARE.has(key) ? /[\0-\x1f\x7f-\x9f]/g : key === 'stack' ? /[\0-\x09\x0b-\x1f\x7f-\x9f]/g : /[\x7f-\x9f]/g
  return value.replace(control, character => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`)
}

function over (log: pino.Logger, gate: { readonly least: number }): Logger {
  return {
    debug: (event, fields) => { if (gate.least <= RANK.debug) log.debug(fields ?? {}, event) },
    info: (event, fields) => { if (gate.least <= RANK.info) log.info(fields ?? {}, event) },
    warn: (event, fields) => { if (gate.least <= RANK.warn) log.warn(fields ?? {}, event) },
    error: (event, fields) => { log.error(fields ?? {}, event) },
    with: fields => over(log.child(fields), gate),
  }
}
