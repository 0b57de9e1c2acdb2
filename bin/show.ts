/** Prints the answers of commands: tables for people, JSON for programs, and the progress of long commands. */
import Table from 'cli-table3'
import pc from 'picocolors'
import type { Report } from '../lib/admin/talk.js'

/** Prints an answer: as JSON, as a table on a terminal, or else as plain lines with tabs between the cells. */
export function show (result: unknown, json: boolean): void {
  if (json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
  else if (typeof result === 'string') process.stdout.write(`${result}\n`)
  else if (Array.isArray(result)) process.stdout.write(`${listOf(result)}\n`)
  else if (typeof result === 'object' && result !== null) {
    for (const [name, value] of Object.entries(result)) process.stdout.write(`${partOf(name, value)}\n`)
  }
}

/** Returns one part of an answer: its name with the value beside it, or with rows below it. */
function partOf (name: string, value: unknown): string {
  if (!isTable(value)) return `${pc.bold(name)}: ${cellOf(value)}`
  if (!process.stdout.isTTY) return value.map(row => `${pc.bold(name)}: ${pairsOf(row)}`).join('\n')
  const table = tableOf(value)
  return widthOf(table) <= WIDE ? `${pc.bold(name)}:\n${table}` : `${pc.bold(name)}:\n${value.map(row => `  ${pairsOf(row)}`).join('\n')}`
}

/** The widest table within an answer, in columns; a wider one becomes lines. */
const WIDE = 120

function widthOf (table: string): number { return table.indexOf('\n') }

function isTable (value: unknown): value is readonly object[] {
  return Array.isArray(value) && value.length > 0 && value.every(row => typeof row === 'object' && row !== null)
}

/** Writes a value for people: without quotes and brackets, and an undefined value as an empty text. */
function cellOf (value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.map(cellOf).join(', ')
  if (typeof value === 'object' && value !== null) return pairsOf(value)
  return typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value)
}

function pairsOf (row: object): string {
  return Object.entries(row).flatMap(([name, value]) => {
    const cell = cellOf(value)
    return cell === '' ? [] : [`${name} ${cell}`]
  }).join(', ')
}

function listOf (rows: readonly unknown[]): string {
  const objects = rows.filter(row => typeof row === 'object' && row !== null)
  if (objects.length === 0) return 'none'
  if (process.stdout.isTTY) return tableOf(objects)
  const head = Object.keys(objects[0] ?? {})
  // A tab or a line break within a cell would split it in two.
  return objects.map(row => cellsOf(row, head).map(cell => cell.replaceAll(/\s/g, ' ')).join('\t')).join('\n')
}

function tableOf (rows: readonly object[]): string {
  const head = Object.keys(rows[0] ?? {})
  const table = new Table({ head: head.map(name => pc.bold(name)), style: { head: [], border: [] } })
  for (const row of rows) table.push(cellsOf(row, head))
  return table.toString()
}

function cellsOf (row: object, head: readonly string[]): string[] {
  const cells = new Map<string, unknown>(Object.entries(row))
  return head.map(name => cellOf(cells.get(name)))
}

/** Without a terminal, the progress of a command is printed this often, in milliseconds. */
const LINE_EVERY = 5000

/** Writes the progress of a command, with an estimate of the time left. `ms` is the time since it began. */
export function farOf ({ done, of, text }: Extract<Report, { readonly kind: 'progress' }>, ms: number): string {
  if (of === 0) return text
  const left = done === 0 || done >= of ? '' : `, ${timeOf(ms * (of - done) / done)} left`
  return `${Math.min(100, Math.floor(100 * done / of))} %, ${text}${left}`
}

function timeOf (ms: number): string {
  const seconds = Math.ceil(ms / 1000)
  return seconds < 60 ? `${seconds}s` : seconds < 3600 ? `${Math.floor(seconds / 60)}m ${seconds % 60}s` : `${Math.floor(seconds / 3600)}h ${Math.floor(seconds / 60) % 60}m`
}

/**
 * Prints the reports of a long command: problems and notes as lines; progress as one changing line on a terminal, and
 * elsewhere as a line every 5 s.
 */
export class Meanwhile {
  readonly #began = performance.now()
  #line = false
  #last = this.#began

  heard (told: Report): void {
    if (told.kind === 'step' || told.kind === 'lost') return
    if (told.kind !== 'progress') {
      this.clear()
      process.stderr.write(`${told.text}\n`)
      return
    }
    const now = performance.now()
    if (process.stderr.isTTY) {
      process.stderr.write(`\r\x1b[K${farOf(told, now - this.#began)}`)
      this.#line = true
    } else if (now - this.#last >= LINE_EVERY) {
      this.#last = now
      process.stderr.write(`${farOf(told, now - this.#began)}\n`)
    }
  }

  /** Removes the line of progress. */
  clear (): void {
    if (this.#line) process.stderr.write('\r\x1b[K')
    this.#line = false
  }
}
