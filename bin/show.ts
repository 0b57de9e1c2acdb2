/** What the command prints: tables for people, JSON for programs, and how far a long one is. */
import Table from 'cli-table3'
import pc from 'picocolors'
import type { Told } from '../lib/admin/talk.js'

/** Prints an answer. */
export function show (result: unknown, json: boolean): void {
  if (json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
  else if (typeof result === 'string') process.stdout.write(`${result}\n`)
  else if (Array.isArray(result)) process.stdout.write(`${tableOf(result)}\n`)
  else if (typeof result === 'object' && result !== null) {
    for (const [name, value] of Object.entries(result)) {
      const table = isTable(value) ? tableOf(value) : undefined
      if (table !== undefined && widthOf(table) <= WIDE) process.stdout.write(`${pc.bold(name)}:\n${table}\n`)
      else process.stdout.write(`${pc.bold(name)}: ${typeof value === 'string' ? value : JSON.stringify(value)}\n`)
    }
  }
}

/** A table within an answer is one as long as it stands in a terminal. */
const WIDE = 120

function widthOf (table: string): number { return table.indexOf('\n') }

function isTable (value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value.length > 0 && value.every(row => typeof row === 'object' && row !== null)
}

function tableOf (rows: readonly unknown[]): string {
  const objects = rows.filter(row => typeof row === 'object' && row !== null)
  const [first] = objects
  if (first === undefined) return 'none'
  const head = Object.keys(first)
  const table = new Table({ head: head.map(name => pc.bold(name)), style: { head: [], border: [] } })
  for (const row of objects) {
    const cells = new Map(Object.entries(row))
    table.push(head.map(name => String(cells.get(name) ?? '')))
  }
  return table.toString()
}

/** Prints what a long command says meanwhile: problems and notes as lines, and on a terminal one line that says how far it is. */
export class Meanwhile {
  #line = false

  heard (told: Told): void {
    if (told.kind !== 'progress') {
      this.clear()
      process.stderr.write(`${told.text}\n`)
    } else if (process.stderr.isTTY) {
      const part = told.of === 0 ? '' : `${Math.floor(100 * told.done / told.of)} %, `
      process.stderr.write(`\r\x1b[K${part}${told.text}`)
      this.#line = true
    }
  }

  /** Takes the line away. */
  clear (): void {
    if (this.#line) process.stderr.write('\r\x1b[K')
    this.#line = false
  }
}
