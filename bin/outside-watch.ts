/** For `npm run dev`: watches the conf file, and modules outside the package. */
import { relative, sep } from 'node:path'
import { watch, type FSWatcher } from 'chokidar'
import { outsideOf } from '../lib/config/outside.js'
import { ConfigProblems } from '../lib/config/problem.js'

/** Changes are reported after this time without another one, in milliseconds: a compiler writes many files. */
const QUIET = 200

/** `changed` is called with the paths that have changed, `failed` if something cannot be watched. */
export interface OutsideWatchHome {
  changed (paths: readonly string[]): void
  failed (error: unknown): void
}

/** Watches a conf file, the files that it includes, and the code in the folders that its `modules.path` names. */
export class OutsideWatch {
  readonly #file: string
  readonly #home: OutsideWatchHome
  readonly #changed = new Set<string>()
  #paths: readonly string[] = []
  #watcher: FSWatcher | undefined
  #timer: NodeJS.Timeout | undefined

  constructor (file: string, home: OutsideWatchHome) {
    this.#file = file
    this.#home = home
  }

  /** Resolves when everything is watched. */
  async open (): Promise<void> {
    this.#paths = this.#wanted()
    const ignored: Ignored = (path, stats) => isIgnored(path, stats?.isFile() === true, this.#paths)
    const watcher = watch([...this.#paths], { ignoreInitial: true, ignored })
    this.#watcher = watcher
    watcher.on('error', error => { this.#home.failed(error) })
    watcher.on('all', (_event, path) => { this.#note(path) })
    await new Promise<void>(resolve => { watcher.once('ready', resolve) })
  }

  async close (): Promise<void> {
    clearTimeout(this.#timer)
    await this.#watcher?.close()
  }

  #note (path: string): void {
    this.#changed.add(path)
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      void this.#tell().catch((error: unknown) => { this.#home.failed(error) })
    }, QUIET)
  }

  /** Watches what the conf file names now, and reports the changes. */
  async #tell (): Promise<void> {
    if (this.#wanted().join('\n') !== this.#paths.join('\n')) {
      await this.close()
      await this.open()
    }
    const changed = [...this.#changed]
    this.#changed.clear()
    this.#home.changed(changed)
  }

  /** Returns the paths to watch; if the conf file cannot be read, also those that were watched before. */
  #wanted (): readonly string[] {
    try {
      const { files, wanted } = outsideOf(this.#file)
      return [...files, ...wanted.flatMap(({ kind, text }) => kind === 'path' ? [text] : [])]
    } catch (error) {
      if (error instanceof ConfigProblems) return [...new Set([this.#file, ...this.#paths])]
      throw error
    }
  }
}

type Ignored = (path: string, stats?: { isFile (): boolean }) => boolean

/** True for installed packages, hidden files, and files that are no code. What was named itself is never ignored. */
function isIgnored (path: string, isFile: boolean, roots: readonly string[]): boolean {
  if (roots.includes(path)) return false
  const root = roots.find(one => path.startsWith(one + sep)) ?? ''
  const steps = relative(root, path).split(sep)
  return steps.some(step => step === 'node_modules' || step.startsWith('.')) || isFile && !/\.(?:[cm]?js|json)$/.test(path)
}
