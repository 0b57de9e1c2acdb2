/** A terminal that a test types into and reads from: tmux with a socket, and so a server, of its own. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { Failure, PATIENCE, run } from './process.js'

export class Terminal {
  readonly #tmux: readonly string[]

  private constructor (tmux: readonly string[]) { this.#tmux = tmux }

  /** Opens a terminal that shows a program; both are ended when the test ends. */
  static async open (t: Test, command: string, env: Readonly<Record<string, string>>): Promise<Terminal> {
    const folder = mkdtempSync(join(tmpdir(), 'sestina-terminal-')) // a socket's path has to be short
    const terminal = new Terminal(['-S', join(folder, 'tmux'), '-f', '/dev/null'])
    t.teardown(async () => {
      await run('tmux', [...terminal.#tmux, 'kill-server'])
      rmSync(folder, { recursive: true })
    })
    await run('tmux', [...terminal.#tmux, 'new-session', '-d', '-x', '160', '-y', '50', command], { env })
    return terminal
  }

  /** Types a line and the enter key. */
  async enter (line: string): Promise<void> {
    await run('tmux', [...this.#tmux, 'send-keys', '-l', line])
    await run('tmux', [...this.#tmux, 'send-keys', 'Enter'])
  }

  /** Returns the text on the screen now. */
  async screen (): Promise<string> {
    return await run('tmux', [...this.#tmux, 'capture-pane', '-p'])
  }

  /** Waits until the screen matches, and returns it. */
  async shows (wanted: RegExp, seconds = PATIENCE): Promise<string> {
    const end = performance.now() + seconds * 1000
    for (;;) {
      const screen = await this.screen()
      if (wanted.test(screen)) return screen
      if (performance.now() > end) throw new Failure(`the terminal did not show ${String(wanted)} within ${seconds} s`, screen)
    }
  }
}
