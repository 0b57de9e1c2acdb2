/** The folder of a test, for files that are gone after it. */
import type { Test } from 'tap'

/**
 * Makes an empty folder, with files if they are given, and returns its path. It is removed after all teardowns of the
 * test. By itself tap removes it before the teardowns that were added later; if a server still writes there, that
 * fails, and then no teardown stops the server.
 */
export function temporaryFolder (t: Pick<Test, 'teardown' | 'testdir'>, files: Parameters<Test['testdir']>[0] = {}): string {
  t.teardown(() => {}) // the first teardown makes tap run all of them before it removes the folder
  return t.testdir(files)
}
