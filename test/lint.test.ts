/** The project's own lint rules find what they are for, and nothing else. */
import { ESLint } from 'eslint'
import { join } from 'node:path'
import t from 'tap'
import { PACKAGE_ROOT } from '../lib/base/package.js'

t.setTimeout(1_200_000) // the rule asks for types, and those of the whole project are read first

/** The lines that `sestina/cut-text` reports in a file of lib with this text. */
async function cutsIn (lines: readonly string[]): Promise<readonly number[]> {
  const eslint = new ESLint({ cwd: PACKAGE_ROOT, ruleFilter: ({ ruleId }) => ruleId === 'sestina/cut-text' })
  // The rule asks for types, and so for a file that the project has.
  const [result] = await eslint.lintText(lines.join('\n'), { filePath: join(PACKAGE_ROOT, 'lib', 'xmpp', 'datetime.ts') })
  return result?.messages.filter(({ ruleId }) => ruleId === 'sestina/cut-text').map(({ line }) => line) ?? []
}

t.test('a text that is cut to a length by anything but shortened () does not pass the lint', async t => {
  const planted = [
    'const MOST = 60',
    'interface Settings { readonly longest: number }',
    'export function cut (text: string, list: readonly string[], settings: Settings, maybe: string | undefined): unknown[] {',
    '  return [',
    '    text.slice(0, 60),',
    '    text.slice(0, MOST),',
    '    text.slice(0, MOST - 1),',
    '    text.slice(0, settings.longest),',
    '    text.slice(0, Math.min(MOST, list.length)),',
    '    text.slice(-20),',
    '    text.substring(2),',
    '    maybe?.slice(0, MOST),',
    "    text.split(''),",
    '  ]',
    '}',
  ]
  t.strictSame(await cutsIn(planted), [5, 6, 7, 8, 9, 10, 11, 12, 13])
  const sound = [
    "import { createHash } from 'node:crypto'",
    "import { shortened } from '../base/text.js'",
    'const MOST = 60',
    'export function places (text: string, list: readonly string[], bytes: Buffer): unknown[] {',
    "  const colon = text.indexOf(':')",
    '  return [',
    "    text.slice(0, colon), text.slice(colon + 1), text.slice('begin:'.length), text.slice(1),",
    "    list.slice(0, MOST), bytes.subarray(0, 3), shortened(text, MOST), text.split(','),",
    "    createHash('sha256').update(text).digest('hex').slice(0, 12),",
    '  ]',
    '}',
  ]
  t.strictSame(await cutsIn(sound), [])
})
