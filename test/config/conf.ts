/** Conf files for tests, and what comes of them. */
import type { Test } from 'tap'
import { join } from 'node:path'
import { loadConfig, type AllModules, type Config, type Environment } from '../../lib/config/load.js'
import { ConfigProblems } from '../../lib/config/problem.js'
import { choice, count, duration, jid, optional, secret, table, type Schema } from '../../lib/config/schema.js'

/** Modules as a conf file may name them: all of them are off unless it does. */
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

/** The least that makes a conf file right. */
export const HOST = '[host."example.org"]\n'

/** A folder with these files. */
export function conf (t: Test, files: string | Readonly<Record<string, string>>): string {
  return t.testdir(typeof files === 'string' ? { 'sestina.toml': files } : { ...files })
}

/** The settings in force. */
export function load (t: Test, files: string | Readonly<Record<string, string>>, env?: Environment): Config {
  return loadConfig(join(conf(t, files), 'sestina.toml'), MODULES, env)
}

/** What the operator reads, without the folder. */
export function problemsOf (t: Test, files: string | Readonly<Record<string, string>>, env?: Environment): string[] {
  const folder = conf(t, files)
  try {
    loadConfig(join(folder, 'sestina.toml'), MODULES, env)
  } catch (error) {
    if (!(error instanceof ConfigProblems)) throw error
    return error.message.replaceAll(folder + '/', '').split('\n')
  }
  return []
}
