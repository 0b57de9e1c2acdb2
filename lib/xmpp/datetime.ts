/** Reads and writes dates and times (XEP-0082). */
import { shortened } from '../base/text.js'
import { StanzaError } from './errors.js'

/**
 * Formats a moment (milliseconds since 1970) in UTC, with milliseconds if `milliseconds` is true. Throws RangeError for
 * a year outside 0000 to 9999.
 */
export function formatDateTime (moment: number, how: { readonly milliseconds?: boolean } = {}): string {
  const at = Math.trunc(moment)
  const day = Math.floor(at / DAY)
  if (day !== lastDay.number) lastDay = { number: day, text: dateOf(at) }
  const rest = at - day * DAY
  const seconds = Math.floor(rest / 1000)
  const minutes = Math.floor(seconds / 60)
  const hours = Math.floor(minutes / 60)
  const time = `${lastDay.text}${digits(hours)}:${digits(minutes - hours * 60)}:${digits(seconds - minutes * 60)}`
  return how.milliseconds === true ? `${time}.${String(rest - seconds * 1000).padStart(3, '0')}Z` : `${time}Z`
}

/** The last day that was formatted. A page of an archive has many moments of few days, and Date is slow. */
let lastDay = { number: NaN, text: '' }
const DAY = 86_400_000
const DIGITS = Array.from({ length: 60 }, (_, number) => two(number))

function digits (number: number): string { return DIGITS[number] ?? '' }

/** Returns the date of a moment with the T after it. */
function dateOf (moment: number): string {
  const text = new Date(moment).toISOString()
  if (text.length !== WRITTEN) throw new RangeError('the year is not between 0000 and 9999')
  const [date = ''] = text.split('T', 1)
  return `${date}T`
}

/**
 * Formats an offset from UTC in minutes (XEP-0202): -300 gives -05:00. Throws RangeError for more than fourteen hours.
 */
export function formatOffset (minutes: number): string {
  if (!Number.isInteger(minutes) || Math.abs(minutes) > WIDEST) throw new RangeError('not an offset from UTC')
  const size = Math.abs(minutes)
  return `${minutes < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`
}

/**
 * Returns the moment in milliseconds since 1970; finer fractions are cut off. Throws StanzaError bad-request if the
 * text is not in the DateTime profile.
 */
export function parseDateTime (text: string): number {
  const parts = DATE_TIME.exec(text)
  if (parts === null) throw malformed()
  const [, date = '', hour = '', minute = '', second = '', fraction = '', zone = ''] = parts
  const milliseconds = shortened(fraction, 3).padEnd(3, '0')
  // Date.parse carries over a day that the month does not have, so the text must come out unchanged.
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
  return new StanzaError('bad-request', 'not a DateTime of XEP-0082')
}
