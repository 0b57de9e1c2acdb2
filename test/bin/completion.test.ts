/** The words that a shell completes. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { missing, UNMEASURED } from '../interop/process.js'
import { SESTINA } from '../sestina.js'
import { temporaryFolder } from '../temporary-folder.js'

t.setTimeout(1_200_000)

function run (program: string, args: readonly string[], input = ''): { readonly status: number | null, readonly stdout: string, readonly stderr: string } {
  return spawnSync(program, args, { encoding: 'utf8', input })
}

const [ENV, ...BARE] = [...UNMEASURED, process.execPath, SESTINA] as const

const scripts = new Map<string, string>()
/** Returns the script for a shell, which is always the same. */
function script (shell: string): string {
  const known = scripts.get(shell) ?? run(ENV, [...BARE, 'completion', shell]).stdout
  scripts.set(shell, known)
  return known
}

/** Returns what bash offers for this line; the last word is the one under the cursor. */
function offered (line: readonly string[]): readonly string[] {
  const words = line.map(word => `'${word}'`).join(' ')
  const ask = `${script('bash')}\nCOMP_WORDS=(${words}); COMP_CWORD=${line.length - 1}; _sestina; printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout, stderr } = run('bash', ['--norc'], ask)
  t.equal(stderr, '')
  return stdout.split('\n').filter(word => word !== '')
}

t.test('bash completes commands, their arguments, and options', { skip: missing({ bash: 'bash' }) }, async t => {
  t.strictSame(offered(['sestina', 'sta']), ['start', 'status'])
  t.strictSame(offered(['sestina', 'user', 're']), ['remove'])
  t.strictSame(offered(['sestina', 'user', 'remove', 'romeo', '@', 'localhost', '--y']), ['--yes'])
  t.strictSame(offered(['sestina', 'import', '--']).includes('--merge'), true)
  t.strictSame(offered(['sestina', 's2s', 'te']), ['test'])
  t.strictSame(offered(['sestina', 'trace', 'romeo', '@', 'localhost', '--b']), ['--bodies'])
  t.strictSame(offered(['sestina', 'completion', 'z']), ['zsh'])
  t.strictSame(offered(['sestina', '--conf', 'x.toml', 'user', 're']), ['remove'])
  t.strictSame(offered(['sestina', 'start', '--conf', '']), [], 'a file: bash itself completes it')
  return Promise.resolve()
})

for (const shell of ['zsh', 'fish']) {
  t.test(`${shell} accepts the completion script`, { skip: missing({ [shell]: shell }) }, async t => {
    const file = join(temporaryFolder(t), `sestina.${shell}`) // fish does not read a script from its standard input
    writeFileSync(file, script(shell))
    t.match(run(shell, ['-n', file]), { status: 0, stderr: '' })
    return Promise.resolve()
  })
}

t.test('zsh and fish get each command and option with a description', async t => {
  t.match(script('zsh'), /'user '\*\) found=\('add:Add an account[^']*' /)
  t.match(script('fish'), /^complete -c sestina -f -n '__sestina_given "user "' -a add -d 'Add an account[^']*'$/m)
  t.match(script('fish'), /^complete -c sestina -n '__sestina_given "user remove \*"' -l yes /m)
  t.equal(run(ENV, [...BARE, 'completion', 'tcsh']).status, 64)
  return Promise.resolve()
})

t.test('--help names the conf file in use and the data folder', async t => {
  for (const words of [['--help'], ['user', 'add', '--help']]) {
    const { stdout } = run(ENV, [...BARE, ...words])
    for (const place of ['--conf', '$SESTINA_CONF', 'sestina.toml', 'data/admin.sock', 'data/certificates']) t.match(stdout, place, words.join(' '))
  }
  return Promise.resolve()
})
