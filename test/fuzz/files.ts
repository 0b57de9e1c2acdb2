/**
 * Files that an operator supplies: conf files and files of accounts. Each problem in one is reported with its place.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { CommandError } from '../../lib/admin/talk.js'
import { loadConfig } from '../../lib/config/load.js'
import { ConfigProblems } from '../../lib/config/problem.js'
import { asks, RecordedTalk } from '../admin/world.js'
import { MODULES } from '../config/conf.js'
import { startServer } from '../scenario.js'
import { cases, escaped, text, type Target } from './target.js'

const key = fc.oneof(fc.constantFrom('data', 'listen', 'for', 'port', 'address', 'tls', 'authentication', 'shortest', 'mechanisms', 'limits', 'host', 'modules',
  '"example.org"', 'roster', 'offline', 'keep', 'log', 'level', 'include', '__proto__', 'constructor', '"a.b"', "''"), text.map(one => JSON.stringify(one)))
const value = fc.oneof(fc.constantFrom('true', '8', '-1', '1e400', '0x10', '"8"', '"1h"', '"10MiB"', '[]', '["PLAIN"]', '{}', '{ a = 1 }', '1979-05-27', 'nan',
  '"""\na"""', "'", '"', '[1, "a"]', '"required"', '5222', '[[]]'), text.map(one => JSON.stringify(one)), fc.integer().map(String))
const line = fc.oneof(
  fc.tuple(key, value).map(([name, given]) => `${name} = ${given}`),
  fc.array(key, { minLength: 1, maxLength: 3 }).map(keys => `[${keys.join('.')}]`),
  key.map(name => `[[${name}]]`),
  fc.tuple(key, key, value).map(([a, b, given]) => `${a}.${b} = ${given}`),
  fc.constantFrom('[host."example.org"]', '[modules]', '[[listen]]', 'for = "clients"', '# a comment', '', '[host."example.org".modules]', 'include = ["*.toml"]'),
  text,
)

/** Runs a target with a folder of its own. */
function inFolder (about: string, made: (folder: string) => Target | Promise<Target>): Target {
  return {
    about,
    run: async (count, seed) => {
      const folder = mkdtempSync(join(tmpdir(), 'sestina-fuzz-'))
      try {
        await (await made(folder)).run(count, seed)
      } finally {
        rmSync(folder, { recursive: true, force: true })
      }
    },
  }
}

export const conf = inFolder('a conf file gives settings, or problems that each have a place', folder =>
  cases('', fc.array(line, { maxLength: 12 }), lines => {
    const file = join(folder, 'sestina.toml')
    writeFileSync(file, lines.join('\n'))
    try {
      loadConfig(file, MODULES)
    } catch (error) {
      if (!(error instanceof ConfigProblems)) throw error
      if (error.problems.length === 0) throw new Error('the file was refused without a problem')
      for (const { place, text } of error.problems) {
        if (place.file === '' || text === '' || /\bundefined\b|\[object/.test(text)) throw new Error(`a problem without a place or a meaning: ${place.file}: ${text}`)
        if (place.line !== undefined && (place.line < 1 || place.line > lines.join('\n').split('\n').length + 1)) throw new Error(`line ${place.line} is not there`)
      }
    }
  }))

const name = fc.oneof(fc.constantFrom('a', 'b', 'c', '@', ''), text)
const attributes = fc.array(fc.tuple(fc.constantFrom('name', 'jid', 'password', 'subscription', 'type', 'from', 'to', 'action', 'value', 'id', 'xml:lang', 'xmlns'),
  fc.oneof(name, fc.constantFrom('both', 'deny', 'jid', 'subscribe', 'scram:QUJD,QUJD,QUJD,1', 'jabber:client', 'jabber:iq:privacy'))), { maxLength: 3 })
const NAMES = ['user', 'query', 'item', 'group', 'vCard', 'message', 'body', 'presence', 'scram-credentials', 'salt', 'iter-count', 'server-key', 'stored-key', 'list',
  'default', 'blocklist', 'offline-messages', 'archive', 'x'] as const
const SPACES = ['', " xmlns='jabber:iq:roster'", " xmlns='jabber:iq:privacy'", " xmlns='urn:xmpp:blocking'", " xmlns='urn:xmpp:pie:0#scram'", " xmlns='jabber:client'",
  " xmlns='vcard-temp'", " xmlns='jabber:iq:private'", " xmlns='urn:xmpp:pie:0#mam'", " xmlns=''"] as const

const { element } = fc.letrec<{ element: string }>(tie => ({
  element: fc.oneof({ maxDepth: 4, withCrossShrink: true }, text.map(escaped),
    fc.tuple(fc.constantFrom(...NAMES), fc.constantFrom(...SPACES), attributes, fc.array(tie('element'), { maxLength: 4 })).map(([tag, space, given, inner]) => {
      const once = new Map(given.filter(([one]) => one !== 'xmlns' || space === ''))
      return `<${tag}${space}${[...once].map(([one, said]) => ` ${one}='${escaped(said)}'`).join('')}>${inner.join('\n')}</${tag}>`
    })),
}))
const user = fc.tuple(name, fc.array(element, { maxLength: 5 })).map(([local, inner]) => `<user name='${escaped(local)}'>\n${inner.join('\n')}\n</user>`)
const broken = fc.constantFrom('</user>', '<', '&nope;', '<!DOCTYPE x>', '<user', '\ufffe', '<!-- x -->', '<?x y?>')

export const imported = inFolder('a file of accounts is imported, or refused with the line of each problem', async folder => {
  const s = await startServer({ modules: ['roster', 'presence', 'message', 'offline', 'private', 'vcard', 'blocking', 'mam'], hosts: ['capulet.lit'] })
  let files = 0
  return cases('', fc.array(fc.oneof({ weight: 8, arbitrary: user }, { weight: 1, arbitrary: element }, { weight: 1, arbitrary: broken }), { maxLength: 4 }), async users => {
    const file = join(folder, `${++files}.xml`)
    writeFileSync(file, `<server-data xmlns='urn:xmpp:pie:0'><host jid='capulet.lit'>\n${users.join('\n')}\n</host></server-data>`)
    const talk = new RecordedTalk()
    try {
      await asks(s.server, 'import', [file, '--merge'], { talk })
    } catch (error) {
      if (!(error instanceof CommandError) || !/:\d+: /.test(error.message)) throw error
    }
    const bare = talk.problems.find(told => !told.startsWith(`${file}:`) || !/^\d+: ./.test(told.slice(file.length + 1)))
    if (bare !== undefined) throw new Error(`a problem without its line: ${bare}`)
    const failed = s.lines.find(({ level }) => level === 'error')
    if (failed !== undefined) throw new Error(`${failed.event}: ${String(failed.fields['error'])}`)
    rmSync(file)
  })
})
