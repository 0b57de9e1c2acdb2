/** The project's own lint rules report what they forbid, and nothing else. */
import { ESLint } from 'eslint'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { PACKAGE_ROOT } from '../lib/base/package.js'
import { temporaryFolder } from './temporary-folder.js'

t.setTimeout(1_200_000) // the rule needs types, so the types of the whole project are read first

/** Returns the lines that `sestina/cut-text` reports in a file of lib with this text. */
async function cutsIn (lines: readonly string[]): Promise<readonly number[]> {
  const eslint = new ESLint({ cwd: PACKAGE_ROOT, ruleFilter: ({ ruleId }) => ruleId === 'sestina/cut-text' })
  // The rule needs types, so the path has to be that of a file in the project.
  const [result] = await eslint.lintText(lines.join('\n'), { filePath: join(PACKAGE_ROOT, 'lib', 'xmpp', 'datetime.ts') })
  return result?.messages.filter(({ ruleId }) => ruleId === 'sestina/cut-text').map(({ line }) => line) ?? []
}

t.test('the lint reports a text that is cut by anything but shortened ()', async t => {
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

/** Returns the rules that a text breaks as a file of lib; `rules`: those to look for. */
async function broken (text: string, rules: readonly string[]): Promise<readonly (string | null)[]> {
  const eslint = new ESLint({ cwd: PACKAGE_ROOT, ruleFilter: ({ ruleId }) => rules.includes(ruleId) })
  const [result] = await eslint.lintText(text, { filePath: join(PACKAGE_ROOT, 'lib', 'xmpp', 'datetime.ts') })
  return result?.messages.map(({ ruleId }) => ruleId) ?? []
}

t.test('the lint refuses another form', async t => {
  for (const [rule, text] of [
    ['@stylistic/semi', 'export const a = 1;\n'],
    ['@stylistic/quotes', 'export const a = "b"\n'],
    ['@stylistic/indent', 'export function a (): void {\n      b()\n}\n'],
    ['@stylistic/space-before-function-paren', 'export function a(): void {}\n'],
    ['@stylistic/max-len', `export const a = 1 // ${'long '.repeat(30)}\n`],
    ['object-curly-spacing', 'export const a = {b: 1}\n'],
  ] as const) t.ok((await broken(text, [rule])).includes(rule), rule)
})

t.test('the lint refuses a function of 41 lines, and one with 16 ways through it', async t => {
  const lines = (count: number): string => `export function a (): void {\n${'  b()\n'.repeat(count - 2)}}\n`
  t.same(await broken(lines(40), ['max-lines-per-function']), [])
  t.same(await broken(lines(41), ['max-lines-per-function']), ['max-lines-per-function'])
  const ways = (count: number): string => `export function a (b: number): void {\n${'  if (b > 1) c()\n'.repeat(count - 1)}}\n`
  t.same(await broken(ways(15), ['complexity']), [])
  t.same(await broken(ways(16), ['complexity']), ['complexity'])
})

t.test('the lint refuses dialect in comments, settings and titles, and nothing else', async t => {
  const rule = 'sestina/plain-words'
  const refused = [
    `// Sent ${'beh' + 'ind'} a crash.`, `/** It may go. */`, `/** What is kept. */`, `/** so many milliseconds */`,
    `setting.says('Waits ${'beh' + 'ind'} the commit.')`, `t.test('a device of ours', run)`,
  ]
  for (const text of refused) t.ok((await broken(`${text}\n`, [rule])).includes(rule), text)
  const fine = ['// A client behind a proxy.', '/** Sends it. */', "const behind = 'behind it'", '// The text\n// It follows.']
  for (const text of fine) t.same(await broken(`${text}\n`, [rule]), [], text)
})

/** Runs a tool of node_modules in a folder; returns its exit code and what it printed. */
function run (tool: string, args: readonly string[], cwd: string, input = ''): { readonly code: number | null, readonly text: string } {
  const script = join(PACKAGE_ROOT, 'node_modules', tool)
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], { cwd, input, encoding: 'utf8' })
  return { code: status, text: stdout + stderr }
}

t.test('the spelling check refuses an unknown word', async t => {
  const check = (text: string): ReturnType<typeof run> => run('cspell/bin.mjs', ['--no-progress', 'stdin://lib/a.ts'], PACKAGE_ROOT, text)
  t.equal(check('// The stanza is sent.\n').code, 0)
  const unknown = check(`// The stanza is ${['se', 'nt', 'ed'].join('')}.\n`)
  t.equal(unknown.code, 1)
  t.match(unknown.text, /Unknown word/)
})

t.test('an export that nobody uses is refused', async t => {
  const folder = temporaryFolder(t, {
    'package.json': '{ "name": "planted", "type": "module", "main": "a.js" }',
    'a.js': "import { b } from './b.js'\nb()\n",
    'b.js': 'export function b () {}\nexport function unused () {}\n',
  })
  const { code, text } = run('knip/bin/knip.js', ['--no-progress'], folder)
  t.equal(code, 1)
  t.match(text, /unused/)
})

t.test('a commit without an area or a reason is refused', async t => {
  const check = (message: string): number | null => run('@commitlint/cli/cli.js', [], PACKAGE_ROOT, message).code
  t.equal(check('mam: send short pages at once\n\nThe thread cost more than the read.\n'), 0)
  t.equal(check('host, mam: send short pages at once\n\nThe thread cost more than the read.\n'), 0)
  for (const message of [
    'send short pages at once\n\nThe thread cost more.\n', 'mam: send short pages at once\n', `mam: ${'long '.repeat(20)}\n\nWhy.\n`,
  ]) t.equal(check(message), 1, message)
})
