/** Kinds of settings, their error messages, and the places of TOML's keys and values. */
import t from 'tap'
import { Document } from '../../lib/config/read.js'
import {
  address, choice, count, duration, flag, jid, list, optional, path, port, rate, secret, size, table, text, uri,
  type Kind, type Values, type ConfDeps,
} from '../../lib/config/schema.js'
import { didYouMean, dotted, shown } from '../../lib/config/words.js'

const WORLD: ConfDeps = {
  folder: '/etc/sestina',
  env: name => name === 'SECRET' ? 'from the environment' : undefined,
  file: path => {
    if (path === '/etc/sestina/secret') return 'from a file\n'
    if (path === '/etc/sestina/empty') return ' \n'
    throw new Error('ENOENT: no such file or directory')
  },
}

/** Returns the value that the kind parses, or its error messages. */
function read (kind: Kind<unknown>, value: unknown): unknown {
  const result = kind.zod(WORLD).safeParse(value)
  return result.success ? { is: result.data } : result.error.issues.map(issue => issue.message).join('; ')
}

t.test('each kind accepts its values, and explains what is wrong with others', async t => {
  const unit = { duration: '"30s", "12h", "7d" or "1y"', size: '"500B", "256KiB" or "10MiB"', rate: '"500B/s" or "20KiB/s"' }
  const inline = 'must be { file = "…" } or { env = "…" }: a secret is never written in the conf file'
  const cases: readonly (readonly [Kind<unknown>, unknown, unknown])[] = [
    [flag(), 'yes', "'yes' is not true or false"],
    [flag(), 1, '1 is not true or false'],
    [flag(), undefined, 'is missing'],
    [flag(), false, { is: false }],
    [count(), '200', "'200' is not a whole number"],
    [count(), 1.5, '1.5 is not a whole number'],
    [count(), NaN, 'NaN is not a whole number'],
    [count(), Infinity, 'Infinity is not a whole number'],
    [count(), -1, '-1 is less than 0'],
    [count({ min: 1, max: 5 }), 0, '0 is less than 1'],
    [count({ min: 1, max: 5 }), 6, '6 is more than 5'],
    [count({ min: 1, max: 5 }), 5, { is: 5 }],
    [count({ min: -5 }), -5, { is: -5 }],
    [count(), undefined, 'is missing'],
    [port(), 65_536, '65536 is more than 65535'],
    [port(), -1, '-1 is less than 0'],
    [port(), 0, { is: 0 }],
    [duration(), 30, `'30' is not a duration such as ${unit.duration}`],
    [duration(), true, `'true' is not a duration such as ${unit.duration}`],
    [duration(), [], `'a list' is not a duration such as ${unit.duration}`],
    [duration(), '1 yeer', `'1 yeer' is not a duration such as ${unit.duration}`],
    [duration(), undefined, 'is missing'],
    [duration({ min: '1m' }), '59s', "'59s' is less than 1m"],
    [duration({ max: '1d' }), '25h', "'25h' is more than 1d"],
    [duration({ min: '1m', max: '1d' }), '1d', { is: 86_400_000 }],
    [size(), '10MB', `'10MB' is not a size such as ${unit.size}`],
    [size({ max: '1KiB' }), '2KiB', "'2KiB' is more than 1KiB"],
    [size(), '2KiB', { is: 2048 }],
    [rate(), '5/s', `'5/s' is not a rate such as ${unit.rate}`],
    [rate({ min: '1KiB/s' }), '1B/s', "'1B/s' is less than 1KiB/s"],
    [rate(), '20KiB/s', { is: 20_480 }],
    [choice('always', 'never'), 'alwasy', "'alwasy' is not one of always, never; did you mean 'always'?"],
    [choice('always', 'never'), 'x', "'x' is not one of always, never"],
    [choice('always', 'never'), 3, '3 is not one of always, never'],
    [choice('always', 'never'), undefined, 'is missing'],
    [choice('always', 'never'), 'never', { is: 'never' }],
    [text(), '', 'an empty text is not allowed'],
    [text({ max: 3 }), 'four', "'four' is longer than 3 characters"],
    [text(), 3, '3 is not a text in quotes'],
    [text(), 'four', { is: 'four' }],
    ...['', 'x y', 'a@', '@b', 'a@b@c', 'a@b/c', 'a<b@c', 'a"b@c', `${'x'.repeat(1024)}@c`, 3, null].map(bad =>
      [jid(), bad, `${shown(bad)} is not an address such as "romeo@example.org"`] as const),
    [jid(), 'romeo@example.org', { is: 'romeo@example.org' }],
    [jid(), 'example.org', { is: 'example.org' }],
    ...['', 'admin@example.org', 'mailto:', 'mailto:a b', 'http://', 'https://[::', 3].map(bad =>
      [uri(), bad, `${shown(bad)} is not a URI such as "mailto:admin@example.org"`] as const),
    [uri(), 'mailto:admin@example.org', { is: 'mailto:admin@example.org' }],
    [uri(), 'xmpp:admin@example.org?message', { is: 'xmpp:admin@example.org?message' }],
    ...['', '*', 'localhost', '256.0.0.1', '127.1', '::1%eth0', '[::1]', '127.0.0.1:80', 0].map(bad =>
      [address(), bad, `${shown(bad)} is not an IP address such as "127.0.0.1" or "::1"`] as const),
    [address(), '::', { is: '::' }],
    [address(), '127.0.0.1', { is: '127.0.0.1' }],
    [path(), '', "'' is not a path"],
    [path(), 'a\0b', "'a\0b' is not a path"],
    [path(), 3, '3 is not a path in quotes'],
    [path(), '../data', { is: '/etc/data' }],
    [path(), '/var/lib/sestina', { is: '/var/lib/sestina' }],
    [secret(), 'hunter2', inline],
    [secret(), {}, inline],
    [secret(), { file: 'secret', env: 'SECRET' }, inline],
    [secret(), { file: 3 }, inline],
    [secret(), undefined, 'is missing'],
    [secret(), { env: 'NOTHING' }, 'the environment variable NOTHING is not set'],
    [secret(), { file: 'empty' }, 'the file empty is empty'],
    [secret(), { file: 'nothing' }, 'the file nothing cannot be read: ENOENT: no such file or directory'],
    [secret(), { file: 'secret' }, { is: 'from a file' }],
    [secret(), { file: '/etc/sestina/secret' }, { is: 'from a file' }],
    [secret(), { env: 'SECRET' }, { is: 'from the environment' }],
    [list(count()), 3, '3 is not a list, in [ and ]'],
    [list(count(), { min: 1 }), [], 'an empty list is not allowed'],
    [list(count(), { min: 2 }), [1], 'there are fewer than 2 items'],
    [list(count(), { max: 2 }), [1, 2, 3], 'there are more than 2 items'],
    [list(count()), [1, 'x'], "'x' is not a whole number"],
    [list(duration()), ['1s', '2s'], { is: [1000, 2000] }],
    [optional(count()), undefined, { is: undefined }],
    [optional(count()), 'x', "'x' is not a whole number"],
    [table({}), [], 'a list is not a table'],
    [table({}), true, 'true is not a table'],
    [table({ a: count().default(3), b: optional(count()) }), {}, { is: { a: 3 } }],
    [table({ a: count() }), {}, 'is missing'],
    [table({ a: count() }), undefined, 'is missing'],
    [table({ a: duration().default('1s') }), undefined, { is: { a: 1000 } }],
  ]
  for (const [kind, value, wanted] of cases) t.same(read(kind, value), wanted, `${kind.called}: ${shown(value)}`)
})

t.test('a default is written as in the conf, and has to be valid', async t => {
  t.same(read(duration().default('30d'), undefined), { is: 2_592_000_000 })
  t.equal(duration().default('30d').written, '30d')
  t.throws(() => count({ max: 3 }).default(4), { message: 'a default is wrong: 4 is more than 3' })
  t.throws(() => choice('a', 'b').default(JSON.parse('"c"') as 'a'), TypeError)
  t.equal(count().required, true)
  t.equal(count().default(3).required, false)
  t.equal(optional(count().says('How many.')).sentence, 'How many.')
  t.equal(optional(table({ a: count() })).fields !== undefined, true)
  t.equal(optional(list(count())).item?.called, 'whole number')
})

t.test('the types of the settings follow from their kinds', async t => {
  const schema = { keep: count().default(200), expire: duration().default('30d'), way: choice('a', 'b').default('a'), who: optional(text()) }
  const settings: Values<typeof schema> = table(schema).zod(WORLD).parse({})
  const keep: number = settings.keep
  const way: 'a' | 'b' = settings.way
  const who: string | undefined = settings.who
  t.same([keep, settings.expire, way, who], [200, 2_592_000_000, 'a', undefined])
})

t.test('a misspelt word is reported with the word that was probably meant', async t => {
  const cases: readonly (readonly [string, readonly string[], string])[] = [
    ['caarbons', ['roster', 'carbons'], "; did you mean 'carbons'?"],
    ['retian', ['expire', 'retain'], "; did you mean 'retain'?"],
    ['Carbons', ['carbons'], "; did you mean 'carbons'?"],
    ['last_activity', ['last-activity'], "; did you mean 'last-activity'?"],
    ['streammanagement', ['stream-management', 'message'], "; did you mean 'stream-management'?"],
    ['fr', ['for'], "; did you mean 'for'?"],
    ['x', ['y'], ''],
    ['', ['a', 'ab'], ''],
    ['upload', ['roster', 'carbons'], ''],
    ['carbons', [], ''],
    ['x'.repeat(100_000), ['carbons'], ''],
  ]
  for (const [word, known, wanted] of cases) t.equal(didYouMean(word, known), wanted, word.slice(0, 20))
})

t.test('values are shown shortened, and paths as in TOML', async t => {
  t.equal(shown('x'.repeat(100)).length, 62)
  t.same([shown([1]), shown({}), shown(null), shown(new Date(0)), shown(undefined)], ['a list', 'a table', 'null', 'a date', 'undefined'])
  t.equal(dotted(['host', 'example.org', 'admins', 0]), 'host."example.org".admins[0]')
  t.equal(dotted(['a"b', 'c']), '"a\\"b".c')
})

t.test('a key has its place in every notation', async t => {
  const document = new Document('f', `a.b . "c d" = 1
[[x]]
y = [ 1, { z = 2 }, [3] ]
[[x]]
[x.deep]
"\\u00e9" = { k.l = 4 }
[p.q]
[p]
r = 1
`)
  const at = (...path: (string | number)[]): unknown => [document.keyPlace(path), document.valuePlace(path)]
    .map(place => place && `${place.line}:${place.column}`)
  t.same(at('a'), ['1:1', '1:1'])
  t.same(at('a', 'b', 'c d'), ['1:7', '1:15'])
  t.same(at('x', 0, 'y', 1, 'z'), ['3:12', '3:16'])
  t.same(at('x', 0, 'y', 2, 0), ['3:22', '3:22'])
  t.same(at('x', 1), ['4:3', '4:1'])
  t.same(at('x', 1, 'deep', 'é', 'k', 'l'), ['6:16', '6:20'])
  t.same(at('p'), ['7:2', '7:1'])
  t.same(at('p', 'r'), ['9:1', '9:5'])
  t.same(at('nothing'), [undefined, undefined])
})
