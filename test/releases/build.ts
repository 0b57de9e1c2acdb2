/** Starts the current build on a data folder, at a chosen moment. */
import { join } from 'node:path'
import { systemClock, type Clock } from '../../lib/base/clock.js'
import type { Logger } from '../../lib/base/logger.js'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { findModules, start, type Running } from '../../lib/main.js'

export const FIXTURES = join(PACKAGE_ROOT, 'test', 'releases', 'fixtures')

/**
 * Starts the server in the `folder` of its sestina.toml, with its clock at `moment` in milliseconds since 1970. Logged
 * errors are added to `errors`.
 */
export async function startAt (folder: string, moment: number, errors: string[]): Promise<Running> {
  const modules = await findModules(join(PACKAGE_ROOT, 'dist', 'modules'))
  return await start({ file: join(folder, 'sestina.toml'), modules, log: into(errors), clock: from(moment) })
}

/** Returns a clock that begins at this moment. */
function from (moment: number): Clock {
  const ahead = moment - systemClock.now()
  return { ...systemClock, now: () => systemClock.now() + ahead }
}

function into (errors: string[]): Logger {
  const log: Logger = {
    isDebugging: false, debug () {}, info () {}, warn () {},
    error (event, fields) { errors.push(`${event}: ${String(fields?.['error'])}`) },
    with: () => log,
  }
  return log
}
