/** Conf files for tests, and the results of loading them. */
import type { Test } from 'tap'
import { join } from 'node:path'
import { loadConfig, type AllModules, type Config, type Environment } from '../../lib/config/load.js'
import { ConfigProblems } from '../../lib/config/problem.js'
import { choice, count, duration, jid, optional, secret, table, type Schema } from '../../lib/config/schema.js'
import { temporaryFolder } from '../temporary-folder.js'

/** Modules that a conf file may name. All of them are off by default. */
export const MODULES: AllModules = new Map(Object.entries<Schema>({
  carbons: {},
  roster: {},
  offline: {
    keep: count({ min: 0, max: 100_000 }).default(200).says('How many messages are kept.'),
    expire: duration().default('30d').says('How long they are kept.'),
  },
  mam: {
    retain: duration({ min: '1d' }).default('1y').says('How long messages are kept.'),
    default: choice('always', 'never', 'roster').default('always').says('Which messages | all or some.'),
  },
  push: {
    service: jid().says('Where to.'),
    retry: table({ attempts: count().default(3).says('How often.'), wait: duration().says('How long between.') }),
    token: optional(secret()).says('Who we are.'),
  },
}).map(([name, settings]) => [name, { settings, isOff: true }]))

/** The shortest valid conf file. */
export const HOST = '[host."example.org"]\n'

/** Creates a folder with these files, and returns its path. */
export function conf (t: Test, files: string | Readonly<Record<string, string>>): string {
  return temporaryFolder(t, typeof files === 'string' ? { 'sestina.toml': files } : { ...files })
}

/** Loads the conf and returns the settings in force. Throws ConfigProblems. */
export function load (
  t: Test, files: string | Readonly<Record<string, string>>, env?: Environment, modules = MODULES,
): Config {
  return loadConfig(join(conf(t, files), 'sestina.toml'), modules, env)
}

/** The problems that the operator reads, one a line, without the path of the folder. */
export function problemsOf (
  t: Test, files: string | Readonly<Record<string, string>>, env?: Environment, modules = MODULES,
): string[] {
  const folder = conf(t, files)
  try {
    loadConfig(join(folder, 'sestina.toml'), modules, env)
  } catch (error) {
    if (!(error instanceof ConfigProblems)) throw error
    return error.message.replaceAll(folder + '/', '').split('\n')
  }
  return []
}
