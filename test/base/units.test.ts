/** Durations, sizes and rates are parsed strictly, and written so that they parse to the same value. */
import t from 'tap'
import fc from 'fast-check'
import { readDuration, readRate, readSize, UnitError, writeDuration, writeRate, writeSize } from '../../lib/base/units.js'

const HOSTILE = [
  '', ' ', '1', '-1s', '+1s', '1.5h', '1e3s', '0x1s', '01s', '00s', '1 s', ' 1s', '1s ', '1s\n', '\n1s', '1S', '1M', '1mo', '1w', '1ms1s', '1s1s',
  's', 'ms', 'NaN', 'NaNs', 'Infinitys', '１s', '1\u00a0s', '1s\0', '1 yeer', '1year', '1/s', '1__proto__', '1constructor', '1toString',
]

t.test('an invalid duration is refused with an example of a valid one', async t => {
  for (const text of HOSTILE) {
    t.throws(() => readDuration(text), { message: `'${text}' is not a duration such as "30s", "12h", "7d" or "1y"` }, JSON.stringify(text))
  }
})

t.test('an invalid size is refused with an example of a valid one', async t => {
  for (const text of [...HOSTILE, '1K', '1KB', '1kB', '1MB', '1kib', '1KIB', '1b', '1 KiB', '1KiB/s', '1.5MiB', '1PiB']) {
    t.throws(() => readSize(text), { message: `'${text}' is not a size such as "500B", "256KiB" or "10MiB"` }, JSON.stringify(text))
  }
})

t.test('an invalid rate is refused with an example of a valid one', async t => {
  for (const text of [...HOSTILE, '1KiB', '1KiB/', '1KiB/m', '1KiB/s/s', '1KiB /s', '1s', '/s', '50/s']) {
    t.throws(() => readRate(text), { message: `'${text}' is not a rate such as "500B/s" or "20KiB/s"` }, JSON.stringify(text))
  }
})

t.test('a value that a number cannot hold exactly is refused', async t => {
  t.throws(() => readDuration('99999999y'), { message: "'99999999y' is too large" })
  t.throws(() => readSize('9007199254740992B'), { message: "'9007199254740992B' is too large" })
  t.throws(() => readRate(`${'9'.repeat(400)}TiB/s`), { message: /is too large$/ })
  t.equal(readSize('9007199254740991B'), Number.MAX_SAFE_INTEGER)
})

t.test('each unit has its value', async t => {
  const durations = { '0s': 0, '500ms': 500, '30s': 30_000, '5m': 300_000, '12h': 43_200_000, '7d': 604_800_000, '1y': 31_536_000_000 }
  for (const [text, ms] of Object.entries(durations)) t.equal(readDuration(text), ms, text)
  const sizes = { '0B': 0, '500B': 500, '256KiB': 262_144, '10MiB': 10_485_760, '2GiB': 2_147_483_648, '1TiB': 1_099_511_627_776 }
  for (const [text, bytes] of Object.entries(sizes)) t.equal(readSize(text), bytes, text)
  t.equal(readRate('20KiB/s'), 20_480)
  t.equal(readRate('0B/s'), 0)
})

t.test('a length is written in the largest unit that divides it', async t => {
  const durations = { '0s': 0, '1ms': 1, '1500ms': 1500, '90s': 90_000, '25h': 90_000_000, '30d': 2_592_000_000, '1y': 31_536_000_000 }
  for (const [text, ms] of Object.entries(durations)) t.equal(writeDuration(ms), text)
  t.equal(writeDuration(readDuration('365d')), '1y')
  t.equal(writeSize(0), '0B')
  t.equal(writeSize(1025), '1025B')
  t.equal(writeSize(2 ** 20 * 10), '10MiB')
  t.equal(writeRate(20_480), '20KiB/s')
})

t.test('a negative or fractional number is not written', async t => {
  for (const value of [-1, 0.5, NaN, Infinity, -Infinity, 2 ** 53]) {
    t.throws(() => writeDuration(value), RangeError)
    t.throws(() => writeSize(value), RangeError)
    t.throws(() => writeRate(value), RangeError)
  }
})

t.test('a written value parses to the same number', async t => {
  fc.assert(fc.property(fc.maxSafeNat(), n => {
    return readDuration(writeDuration(n)) === n && readSize(writeSize(n)) === n && readRate(writeRate(n)) === n
  }), { seed: 42 })
  t.pass('1 000 numbers there and back')
})

t.test('a parsed value is written no longer than it was, and parses to the same', async t => {
  const unit = fc.constantFrom('ms', 's', 'm', 'h', 'd', 'y')
  fc.assert(fc.property(fc.nat(100_000), unit, (n, unit) => {
    const again = writeDuration(readDuration(`${n}${unit}`))
    return readDuration(again) === readDuration(`${n}${unit}`) && (n === 0 || again.length <= `${n}${unit}`.length + 1)
  }), { seed: 42 })
  t.pass('any duration an operator may write')
})

t.test('any text parses to a unit or throws UnitError, never another error', async t => {
  fc.assert(fc.property(fc.string(), text => {
    for (const read of [readDuration, readSize, readRate]) {
      try {
        if (!Number.isSafeInteger(read(text))) return false
      } catch (error) {
        if (!(error instanceof UnitError)) return false
      }
    }
    return true
  }), { seed: 42 })
  t.pass('any text')
})
