/** Mistakes in a conf file: their places, and texts for the operator. */

/** A place in a file; lines and columns count from 1. Without a line, the place is the whole file. */
export interface Place { readonly file: string, readonly line?: number, readonly column?: number }

export interface Problem { readonly place: Place, readonly text: string }

/** Writes a place as `conf/sestina.toml:31:1`. */
export function writePlace ({ file, line, column }: Place): string {
  return line === undefined ? file : `${file}:${line}:${column ?? 1}`
}

/** All mistakes in a conf file, in the order of its lines. The error's message has one line for each. */
export class ConfigProblems extends Error {
  readonly problems: readonly Problem[]

  /** `files` gives the order of the files. A file that it does not name comes after the others. */
  constructor (problems: readonly Problem[], files: readonly string[] = []) {
    const sorted = inOrder(problems, files)
    super(sorted.map(({ place, text }) => `${writePlace(place)}: ${text}`).join('\n'))
    this.problems = sorted
  }
}

/** Sorts the problems by file and line, and removes duplicates. */
function inOrder (problems: readonly Problem[], first: readonly string[]): readonly Problem[] {
  const files = [...new Set([...first, ...problems.map(({ place }) => place.file)])]
  const once = new Map(problems.map(problem => [`${writePlace(problem.place)} ${problem.text}`, problem]))
  return [...once.values()].sort(({ place: a }, { place: b }) =>
    files.indexOf(a.file) - files.indexOf(b.file) || (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0))
}
