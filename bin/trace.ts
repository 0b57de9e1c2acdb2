/** Prints the steps of a trace: a line for each, or JSON for programs. */
import pc from 'picocolors'
import type { Report, TracedStanza, TracedStep } from '../lib/admin/talk.js'

export class TracePrinter {
  readonly #isJson: boolean

  /** With JSON, each step is one object in one line. */
  constructor (isJson: boolean) { this.#isJson = isJson }

  /** Prints a step to standard output. Returns false if the report is none. */
  heard (told: Report): boolean {
    if (told.kind !== 'step' && told.kind !== 'lost') return false
    process.stdout.write(`${this.#isJson ? JSON.stringify(told) : textOf(told)}\n`)
    return true
  }
}

type Traced = Extract<Report, { readonly kind: 'step' | 'lost' }>

function textOf (told: Traced): string {
  if (told.kind === 'lost') return pc.yellow(`${told.steps} steps were lost: they came faster than they were read`)
  return [...told.stanza === undefined ? [] : headOf(told, told.stanza), lineOf(told)].join('\n')
}

/** Writes what the stanza is: the first line of its way, and its content if that is shown. */
function headOf ({ number, at }: TracedStep, { kind, type, id, from, to, holds, content }: TracedStanza): string[] {
  const parts = [kind, type, id === undefined ? '' : `id ${id}`, `from ${from}`, to === undefined ? '' : `to ${to}`, holds === '' ? '' : `with ${holds}`]
  const head = harmless(parts.filter(part => part !== '').join(' '))
  return [pc.bold(`${at}  #${number}  ${head}`), ...content === undefined ? [] : [`  ${harmless(content)}`]]
}

function lineOf ({ number, at, passed, step, outcome, reason }: TracedStep): string {
  const end = reason === undefined ? outcome : `${outcome}: ${reason}`
  const line = harmless(`${at}  #${number}  +${passed} ms  ${step}  ${end}`)
  return outcome === 'refused' || outcome === 'dropped' ? pc.red(line) : line
}

/**
 * Escapes control characters: strangers choose some of these texts, and they must not begin a new line or control the
 * terminal.
 */
function harmless (line: string): string {
  return line.replaceAll(/[\0-\x1f\x7f-\x9f]/g, character => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`)
}
