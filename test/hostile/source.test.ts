/**
 * Checks that read the source because no scene can make them: how secrets are compared, where random numbers come from,
 * and how SQL is built.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'

const sources = ['lib', 'modules', 'bin'].flatMap(top => readdirSync(join(PACKAGE_ROOT, top), { recursive: true, encoding: 'utf8' })
  .filter(name => name.endsWith('.ts')).map(name => join(top, name)))

/** Returns the lines of code, without comments, that match the pattern. */
function places (pattern: RegExp, among: (file: string) => boolean = () => true): string[] {
  return sources.filter(among).flatMap(file => readFileSync(join(PACKAGE_ROOT, file), 'utf8').split('\n')
    .filter(line => pattern.test(line.replace(/^\s*(?:\/?\*|\/\/).*|\/\/ .*$/, ''))).map(line => `${file}: ${line.trim()}`))
}

const SECRET = '(?:storedKey|serverKey|proof|signature|verifier|secret|password|token|salted\\w*|clientKey)'

t.test('secrets are compared in constant time', t => { // CVE-2021-32921
  // a comparison with undefined, null, a constant, a type or a length compares no secret
  const harmless = /(?:[=!]== (?:undefined|null|''|true|false|'\w+')|\.(?:length|size|name)\b|typeof |first !== second)/
  const found = places(new RegExp(`\\b${SECRET}\\b[^,;&|?]*[^=!]?[=!]==[^=]|[=!]==[^,;&|?]*\\b${SECRET}\\b`, 'i')).filter(place => !harmless.test(place))
  t.strictSame(found, [])
  t.ok(places(/timingSafeEqual\(/, file => file.startsWith('lib/auth/')).length >= 2, 'the constant-time comparison is in use')
  t.end()
})

t.test("random values come only from the system's cryptographic generator", t => { // CVE-2016-1232
  t.strictSame(places(/Math\.random|pseudoRandomBytes|Date\.now\(\)\.toString|performance\.now\(\)\.toString/), [])
  t.strictSame(places(/\brandom(?:Bytes|UUID|Int|FillSync)\b.*from/).filter(place => !place.includes("from 'node:crypto'")), [])
  t.end()
})

t.test('no input of a stranger becomes part of an SQL statement or of code', t => {
  // a name in capitals is a constant of its file
  const built = places(/\.(?:prepare|exec)\(\s*`[^`]*\$\{(?![A-Z_]+\})/, file => file.startsWith('lib/storage'))
  t.strictSame(built, [])
  t.strictSame(places(/\beval\(|new Function\(|node:vm/), [])
  t.end()
})
