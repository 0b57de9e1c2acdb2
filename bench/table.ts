/**
 * Writes the findings as a table: medians, lowest values, and the costs of the other servers in multiples of the first.
 */
import type { Outcome } from './jobs.js'
import type { Case, Scene } from './plan.js'
import type { Findings, Measurement } from './run.js'

/** Returns the cost of one message, login and so on, in the unit of the scene's first line. */
export function costOf ({ scene, outcome }: Measurement): number {
  return UNITS[scene][0].cost(outcome)
}

/** Returns the median of some values; NaN if there are none. */
export function median (values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle] ?? NaN : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2
}

/** Returns the whole report as lines. `names` are the servers in the order of the columns. */
export function report (findings: Findings, cases: readonly Case[], names: readonly string[]): string[] {
  const [first = ''] = names
  return [
    `Cost for the server: median (lowest)${names.length > 1 ? `, and in multiples of ${first}` : ''}`,
    ...lines(['', ...names], cases.flatMap(one => UNITS[one.scene].map(unit =>
      [labelOf(one, unit), ...names.map(name => costCell(of(findings, one, name), of(findings, one, first), unit))]))),
    '',
    'Load: units per second of time · cores that the server used · cores that the load generator used',
    ...lines(['', ...names], cases.filter(({ scene }) => DRIVEN[scene] !== undefined).map(one => [
      `${DRIVEN[one.scene] ?? ''}${encrypted(one)}`, ...names.map(name => drivenCell(findings, one, name))])),
    ...deliveries(findings, names),
    ...findings.failures.map(failure => `FAILED  ${failure}`),
  ]
}

interface Unit { readonly label: string, readonly cost: (outcome: Outcome) => number }

const MICROSECONDS = ({ cpu, count }: Outcome): number => cpu / count * 1e6
const MILLISECONDS = ({ cpu, count }: Outcome): number => cpu / count * 1e3
const UNITS: Readonly<Record<Scene, readonly [Unit, ...Unit[]]>> = {
  messages: [{ label: 'chat message, CPU µs', cost: MICROSECONDS }],
  managed: [{ label: 'chat message with stream management, CPU µs', cost: MICROSECONDS }],
  federation: [{ label: 'message between two servers, CPU µs of both', cost: MICROSECONDS }],
  logins: [{ label: 'login and close, CPU ms', cost: MILLISECONDS }],
  resume: [{ label: 'lost connection and resumption, CPU ms', cost: MILLISECONDS }],
  memory: [{ label: 'idle session, KiB', cost: ({ bytes, count }) => bytes / count / 1024 }],
  presence: [{ label: 'presence delivery, CPU µs', cost: MICROSECONDS }],
  quiet: [
    { label: 'an hour of a phone, KiB', cost: ({ bytes }) => bytes / 1024 },
    { label: 'an hour of a phone, wake-ups', cost: ({ count }) => count },
  ],
  catchup: [{ label: 'a thousand archived messages, CPU ms', cost: MICROSECONDS }],
  pep: [{ label: 'PEP notification, 200 contacts, CPU µs', cost: MICROSECONDS }],
  pepMany: [{ label: 'PEP notification, 2,000 contacts, CPU µs', cost: MICROSECONDS }],
  publish: [{ label: 'item published on a service, CPU µs', cost: MICROSECONDS }],
  retrieve: [{ label: '20 items read from a service, CPU µs', cost: MICROSECONDS }],
}
const DRIVEN: Readonly<Partial<Record<Scene, string>>> = {
  messages: 'messages', managed: 'messages with stream management', federation: 'messages between servers', logins: 'logins',
  resume: 'resumptions', presence: 'deliveries', catchup: 'archived messages', pep: 'PEP notifications', pepMany: 'PEP notifications to many',
  publish: 'publications', retrieve: 'retrievals',
}

/** Returns one cell of costs. `base` are the measurements of the first server. */
function costCell (costs: readonly Measurement[], base: readonly Measurement[], { cost }: Unit): string {
  if (costs.length === 0) return '–'
  const values = costs.map(({ outcome }) => cost(outcome))
  const text = `${shown(median(values))} (${shown(Math.min(...values))})`
  if (costs[0]?.server === base[0]?.server) return text
  // The ratios are within a round: if the machine is slow for a while, both servers are slow.
  const ratios = costs.flatMap(one => base.filter(({ round }) => round === one.round)
    .map(({ outcome }) => cost(one.outcome) / cost(outcome)))
  return ratios.length === 0 ? text : `${text} ${shown(median(ratios))}×`
}

function drivenCell (findings: Findings, one: Case, name: string): string {
  const outcomes = of(findings, one, name).map(({ outcome }) => outcome)
  if (outcomes.length === 0) return '–'
  const middle = (value: (outcome: Outcome) => number): number => median(outcomes.map(value))
  const rate = middle(({ count, wall }) => count / wall).toFixed(0)
  return `${rate} · ${middle(({ cpu, wall }) => cpu / wall).toFixed(2)} · ${middle(({ own, wall }) => own / wall).toFixed(2)}`
}

function deliveries (findings: Findings, names: readonly string[]): string[] {
  const parts = names.flatMap(name => {
    const rates = of(findings, { scene: 'presence', secure: 'none' }, name).map(({ outcome }) => outcome.count / outcome.cpu)
    return rates.length === 0 ? [] : [`${name} ${median(rates).toFixed(0)}`]
  })
  return parts.length === 0 ? [] : ['', `Presence deliveries per CPU second: ${parts.join(', ')}`]
}

function of (findings: Findings, one: Case, name: string): Measurement[] {
  return findings.measurements.filter(({ scene, secure, inactive, server }) =>
    scene === one.scene && secure === one.secure && inactive === one.inactive && server === name)
}

function labelOf (one: Case, { label }: Unit): string {
  if (one.scene === 'quiet') return `${label}, ${one.inactive === true ? 'inactive' : 'in use'}`
  return label + encrypted(one)
}

function encrypted ({ scene, secure }: Case): string {
  if (scene === 'federation') return '' // clients connect without TLS, servers with it
  return { none: ', plain', starttls: ', TLS', direct: ', TLS, in one round trip' }[secure]
}

function shown (value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

function lines (head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map(row => (row[column] ?? '').length)))
  return [head, ...rows].map(row => '  ' + row.map((cell, column) =>
    column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart((widths[column] ?? 0) + 3)).join(''))
}
