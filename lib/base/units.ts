/** Durations, sizes and rates as an operator writes them: "30d", "256KiB", "20KiB/s". Reads and writes them. */

/** A duration as text. There are no weeks and months: each length has one spelling. */
export type Duration = `${number}${'ms' | 's' | 'm' | 'h' | 'd' | 'y'}`
/** A size as text, in powers of 1024 only. */
export type Size = `${number}${'B' | 'KiB' | 'MiB' | 'GiB' | 'TiB'}`
/** A rate as text. */
export type Rate = `${Size}/s`

/** Thrown for a text that does not have the expected unit. The message is for the operator. */
export class UnitError extends Error {}

/** Returns the milliseconds of a duration. Throws UnitError. */
export function readDuration (text: string): number {
  return read(text, '', DURATIONS, 'a duration such as "30s", "12h", "7d" or "1y"')
}

/** Returns the bytes of a size. Throws UnitError. */
export function readSize (text: string): number {
  return read(text, '', SIZES, 'a size such as "500B", "256KiB" or "10MiB"')
}

/** Returns the bytes per second of a rate. Throws UnitError. */
export function readRate (text: string): number {
  return read(text, '/s', SIZES, 'a rate such as "500B/s" or "20KiB/s"')
}

/** Returns the shortest text for these milliseconds. Throws RangeError unless they are a whole number, 0 or more. */
export function writeDuration (ms: number): string {
  return ms === 0 ? '0s' : write(ms, DURATIONS)
}

/** Returns the shortest text for these bytes. Throws RangeError unless they are a whole number, 0 or more. */
export function writeSize (bytes: number): string {
  return write(bytes, SIZES)
}

/**
 * Returns the shortest text for these bytes per second. Throws RangeError unless they are a whole number, 0 or more.
 */
export function writeRate (bytesPerSecond: number): string {
  return write(bytesPerSecond, SIZES) + '/s'
}

type Units = ReadonlyMap<string, number>

/** The units, from the smallest to the largest. A year is 365 days. */
const DURATIONS: Units = new Map([
  ['ms', 1], ['s', 1000], ['m', 60_000], ['h', 3_600_000], ['d', 86_400_000], ['y', 31_536_000_000],
])
const SIZES: Units = new Map([['B', 1], ['KiB', 2 ** 10], ['MiB', 2 ** 20], ['GiB', 2 ** 30], ['TiB', 2 ** 40]])

function read (text: string, ending: string, units: Units, wanted: string): number {
  const body = text.endsWith(ending) ? text.slice(0, text.length - ending.length) : ''
  const [, digits, name] = /^(0|[1-9][0-9]*)([A-Za-z]+)$/.exec(body) ?? []
  const unit = name === undefined ? undefined : units.get(name)
  if (unit === undefined) throw new UnitError(`'${text}' is not ${wanted}`)
  const value = Number(digits) * unit
  if (!Number.isSafeInteger(value)) throw new UnitError(`'${text}' is too large`)
  return value
}

function write (value: number, units: Units): string {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is not a whole number of 0 or more`)
  let text = ''
  for (const [name, unit] of units) {
    if (text === '' || value >= unit && value % unit === 0) text = `${value / unit}${name}`
  }
  return text
}
