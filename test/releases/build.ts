/** This build, on a data folder, at a moment of its own choosing. */
import { join } from 'node:path'
import { systemClock, type Clock } from '../../lib/base/clock.js'
import type { Logger } from '../../lib/base/logger.js'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { findModules, start, type Running } from '../../lib/main.js'

export const FIXTURES = join(PACKAGE_ROOT, 'test', 'releases', 'fixtures')

/** `folder`: that of its sestina.toml. `moment`: when it starts, in milliseconds since 1970. What went wrong is added to `errors`. */
export async function startAt (folder: string, moment: number, errors: string[]): Promise<Running> {
  const modules = await findModules(join(PACKAGE_ROOT, 'dist', 'modules'))
  return await start({ file: join(folder, 'sestina.toml'), modules, log: into(errors), clock: from(moment) })
}

/** Time goes on from there. */
function from (moment: number): Clock {
  const ahead = moment - systemClock.now()
  return { ...systemClock, now: () => systemClock.now() + ahead }
}

function into (errors: string[]): Logger {
  const log: Logger = {
    debug () {}, info () {}, warn () {},
    error (event, fields) { errors.push(`${event}: ${String(fields?.['error'])}`) },
    with: () => log,
  }
  return log
}
