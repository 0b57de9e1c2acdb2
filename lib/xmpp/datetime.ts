/** XEP-0082: dates and times as they are written. */
import { shortened } from '../base/text.js'
import { StanzaError } from './errors.js'

/** The moment (ms since 1970) in UTC; `milliseconds`: they are written too. Throws RangeError outside of the years 0000 to 9999. */
export function formatDateTime (moment: number, how: { readonly milliseconds?: boolean } = {}): string {
  const text = new Date(moment).toISOString()
  if (text.length !== WRITTEN) throw new RangeError('a year beyond four digits')
  return how.milliseconds === true ? text : `${text.slice(0, -5)}Z`
}

/** An offset from UTC in minutes, as XEP-0202 has it: -300 is -05:00. Throws RangeError beyond fourteen hours. */
export function formatOffset (minutes: number): string {
  if (!Number.isInteger(minutes) || Math.abs(minutes) > WIDEST) throw new RangeError('no offset from UTC')
  const size = Math.abs(minutes)
  return `${minutes < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`
}

/** The moment in ms since 1970; finer fractions are cut off. Throws StanzaError bad-request for anything but the DateTime profile. */
export function parseDateTime (text: string): number {
  const parts = DATE_TIME.exec(text)
  if (parts === null) throw malformed()
  const [, date = '', hour = '', minute = '', second = '', fraction = '', zone = ''] = parts
  const milliseconds = shortened(fraction, 3).padEnd(3, '0')
  // A day that its month does not have would be carried over: the text must come out as it went in.
  const utc = `${date}T${hour}:${minute}:${second}.${milliseconds}Z`
  const moment = Date.parse(utc)
  if (Number.isNaN(moment) || new Date(moment).toISOString() !== utc) throw malformed()
  return moment - offset(zone) * 60_000
}

const WRITTEN = '1969-07-21T02:56:15.000Z'.length
const DATE_TIME = /^(\d{4}-\d{2}-\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,30}))?(Z|[+-]\d{2}:\d{2})$/
/** XML Schema part 2 §3.2.7.3: no offset is more than fourteen hours. */
const WIDEST = 14 * 60

function offset (zone: string): number {
  if (zone === 'Z') return 0
  const minutes = Number(zone.slice(4))
  const size = parseInt(zone.slice(1), 10) * 60 + minutes
  if (minutes > 59 || size > WIDEST) throw malformed()
  return zone.startsWith('-') ? -size : size
}

function two (number: number): string {
  return String(number).padStart(2, '0')
}

function malformed (): StanzaError {
  return new StanzaError('bad-request', 'not a date and time of XEP-0082')
}
