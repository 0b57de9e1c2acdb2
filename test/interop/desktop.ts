/**
 * A desktop without a screen: an X server and a session bus of the test's own, a keyboard, and pictures of the screen.
 */
import { chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { NOBODY, PATIENCE, Program, run } from './process.js'

export class Desktop {
  /** The environment of a program that is to appear on this desktop, with a home of its own. */
  readonly env: Readonly<Record<string, string>>

  private constructor (env: Readonly<Record<string, string>>) { this.env = env }

  /**
   * Opens a desktop; `settle` fills its home as a person would have it. It is closed and removed when the test ends.
   */
  static async open (t: Test, settle: (home: string) => void): Promise<Desktop> {
    const home = mkdtempSync(join(tmpdir(), 'sestina-desktop-')) // not below a folder that nobody may enter
    t.teardown(() => { rmSync(home, { recursive: true, force: true }) })
    mkdirSync(join(home, 'runtime'), { mode: 0o700 })
    settle(home)
    giveToNobody(home)
    const x = new Program('Xvfb', ['-displayfd', '1', '-screen', '0', '960x600x24', '-nolisten', 'tcp', '-ac'])
    t.teardown(() => x.stop())
    const [, display] = await x.says(/^(\d+)\n/m)
    const env = {
      HOME: home, XDG_CONFIG_HOME: join(home, 'config'), XDG_DATA_HOME: join(home, 'data'), XDG_CACHE_HOME: join(home, 'cache'),
      XDG_RUNTIME_DIR: join(home, 'runtime'), DISPLAY: `:${display ?? ''}`, WAYLAND_DISPLAY: '', LC_ALL: 'C.UTF-8', NO_AT_BRIDGE: '1',
      GTK_THEME: 'Adwaita', GSETTINGS_BACKEND: 'memory', LIBGL_ALWAYS_SOFTWARE: '1', PYTHON_KEYRING_BACKEND: 'keyring.backends.null.Keyring',
    }
    const bus = new Program('dbus-daemon', ['--session', '--nofork', '--print-address'], { env, asNobody: true })
    t.teardown(() => bus.stop())
    const [address] = await bus.says(/^unix:\S+/m)
    return new Desktop({ ...env, DBUS_SESSION_BUS_ADDRESS: address })
  }

  /** Starts a program on this desktop; it is ended when the test ends. */
  start (t: Test, path: string, args: readonly string[]): Program {
    const program = new Program(path, args, { env: this.env, asNobody: true })
    t.teardown(() => program.stop())
    return program
  }

  /** Runs a program on this desktop to its end, and returns its output. */
  async run (path: string, ...args: readonly string[]): Promise<string> {
    return await run(path, args, { env: this.env, asNobody: true })
  }

  /** Types into the window with this title: text, then keys. */
  async type (title: string, text: string, ...keys: readonly string[]): Promise<void> {
    await this.run('xdotool', 'search', '--sync', '--onlyvisible', '--name', title, 'windowfocus', '--sync')
    await this.run('xdotool', 'type', '--delay', '20', text)
    for (const key of keys) await this.run('xdotool', 'key', key)
  }

  /** Takes a picture of the whole screen. */
  async picture (path: string): Promise<void> {
    await run('import', ['-window', 'root', path], { env: this.env })
  }

  /**
   * Takes pictures until one differs from an earlier one by more than `pixels`, or the time is over. Keeps the last one
   * and returns the difference.
   */
  async changed (earlier: string, path: string, pixels: number, seconds = PATIENCE): Promise<number> {
    const end = performance.now() + seconds * 1000
    for (;;) {
      await this.picture(path)
      const compare = new Program('compare', ['-metric', 'AE', earlier, path, 'null:'], { input: '' })
      await compare.ended // exit code 1 if they differ
      const difference = Number.parseFloat(compare.said)
      if (difference > pixels || performance.now() > end) return difference
    }
  }
}

function giveToNobody (folder: string): void {
  if (NOBODY === undefined) return
  for (const name of ['.', ...readdirSync(folder, { recursive: true, encoding: 'utf8' })]) chownSync(join(folder, name), NOBODY.uid, NOBODY.gid)
}
