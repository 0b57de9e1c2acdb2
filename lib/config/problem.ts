/** What is wrong in a conf file: where, and in words for the operator. */

/** A place in a file, counted from 1. Without a line it is the file as a whole. */
export interface Place { readonly file: string, readonly line?: number, readonly column?: number }

export interface Problem { readonly place: Place, readonly text: string }

/** `conf/sestina.toml:31:1` */
export function writePlace ({ file, line, column }: Place): string {
  return line === undefined ? file : `${file}:${line}:${column ?? 1}`
}

/** Everything that is wrong with a conf file, in the order of its lines. The message has one line for each. */
export class ConfigProblems extends Error {
  readonly problems: readonly Problem[]

  /** `files`: the order they were read in. A file that is not named there comes behind. */
  constructor (problems: readonly Problem[], files: readonly string[] = []) {
    const sorted = inOrder(problems, files)
    super(sorted.map(({ place, text }) => `${writePlace(place)}: ${text}`).join('\n'))
    this.problems = sorted
  }
}

/** File by file, line by line, each problem once. */
function inOrder (problems: readonly Problem[], first: readonly string[]): readonly Problem[] {
  const files = [...new Set([...first, ...problems.map(({ place }) => place.file)])]
  const once = new Map(problems.map(problem => [`${writePlace(problem.place)} ${problem.text}`, problem]))
  return [...once.values()].sort(({ place: a }, { place: b }) =>
    files.indexOf(a.file) - files.indexOf(b.file) || (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0))
}
