/** A document is read in pieces, however large it is and however its bytes are split; forbidden XML is refused. */
import t from 'tap'
import { DocumentError, readDocument, type Opened, type Piece } from '../../lib/xml/document.js'
import { fromOctets, octets } from '../../lib/xml/writer.js'
import { staysBelow } from '../hostile/turns.js'

const opens = (around: readonly Opened[], tag: Opened): boolean => around.length === 0 || tag.name === 'box'

async function * chunksOf (document: string | Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(document)
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function read (document: string | Uint8Array, size = 65_536, longest = 10_000): Promise<string[]> {
  const found: string[] = []
  for await (const piece of readDocument(chunksOf(document, size), { opens, longest })) found.push(`${piece.line} ${said(piece)}`)
  return found
}

function said (piece: Piece): string {
  switch (piece.kind) {
    case 'open': return `<${piece.tag.namespace} ${piece.tag.name} ${[...piece.tag.attributes].map(([name, value]) => `${name}=${value}`).join(' ')}>`
    case 'close': return `</${piece.tag.name}>`
    case 'element': return fromOctets(octets(piece.element, ''))
    case 'refused': return `${piece.name}: ${piece.text}`
  }
}

t.test('the pieces of a document do not depend on how its bytes are split', async t => {
  const document = `\ufeff<?xml version='1.0' encoding="UTF-8"?>
<!-- accounts -->
<root xmlns='urn:a' xmlns:p='urn:p' name='ä'>
  text that belongs to nobody
  <a p:x='1'>t&#228;xt &amp; <b xmlns=''/><!-- gone --> and <![CDATA[<raw>]]><?gone too?></a>
  <p:box><c xmlns='urn:c'/><d/></p:box>
  <none xmlns=''><e/></none>
</root>`
  const wanted = [
    '3 <urn:a root name=ä>',
    '5 <a xmlns="urn:a" xmlns:p="urn:p" p:x="1">täxt &amp; <b xmlns=""/> and &lt;raw&gt;</a>',
    '6 <urn:p box >',
    '6 <c xmlns="urn:c"/>',
    '6 <d xmlns="urn:a"/>',
    '6 </box>',
    '7 <none><e/></none>',
    '8 </root>',
  ]
  for (const size of [1, 2, 3, 7, 64, 65_536]) t.strictSame(await read(document, size), wanted, `${size} bytes at a time`)
})

t.test('a document may name UTF-8 by any of its names', async t => {
  for (const name of ['UTF-8', 'utf8', 'csUTF8', 'unicode-1-1-utf-8']) {
    t.strictSame(await read(`<?xml version='1.0' encoding='${name}'?>\n<root/>`), await read('\n<root/>'), name)
  }
})

t.test('forbidden or broken XML ends the document, and the error names the line', async t => {
  const rows: readonly (readonly [string, string | Uint8Array, number, RegExp])[] = [
    ['a document type', '<!DOCTYPE root>\n<root/>', 1, /document type/],
    ['entities of its own', '<!DOCTYPE r [<!ENTITY a "b">]>\n<r>&a;</r>', 1, /document type/],
    ['an undeclared entity', '<root>\n<a>&nbsp;</a></root>', 2, /entity/i],
    ['an end tag of another element', '<root>\n<a></b></root>', 2, /tag/i],
    ['an undeclared prefix', '<root>\n\n<p:a/></root>', 3, /prefix/i],
    ['another encoding', '<?xml version="1.0" encoding="ISO-8859-1"?>\n<root/>', 1, /ISO-8859-1 is not supported/],
    ['bytes that are not UTF-8', Buffer.from([...Buffer.from('<root>\n<a>'), 0xff, ...Buffer.from('</a></root>')]), 1, /UTF-8/],
    ['a character that was cut off', Buffer.from([...Buffer.from('<root/>'), 0xc3]), 1, /UTF-8/],
    ['a missing end tag', '<root>\n<a>', 2, /close|end/i],
    ['text before the root', 'x<root/>', 1, /white|text/i],
    ['nothing', ' ', 1, /no element/],
    ['an attribute without quotes', '<root a=b/>', 1, /attribute/i],
  ]
  for (const [name, document, line, text] of rows) {
    for (const size of [1, 65_536]) {
      const error: unknown = await read(document, size).then(() => undefined, (error: unknown) => error)
      t.ok(error instanceof DocumentError, name)
      if (!(error instanceof DocumentError)) continue
      t.match(error.message, text, name)
      if (size === 1 || line === 1) t.ok(error.line >= line && error.line <= line + 1, `${name}: at line ${error.line}`)
    }
  }
})

t.test('a piece that Sestina’s own parser refuses is left out, and the document goes on after it', async t => {
  const [, twice = '', control = '', ...rest] = await read("<root xmlns='urn:a'>\n<a x='1' x='2'/>\n<b>\u0001</b>\n<c/>\n</root>")
  t.match(twice, /^2 a: .*attribute/)
  t.match(control, /^3 b: .*character/)
  t.strictSame(rest, ['4 <c xmlns="urn:a"/>', '5 </root>'])
})

t.test('a piece beyond the bound is left out, and takes no memory while it arrives', async t => {
  const long = 'x'.repeat(1000)
  for (const size of [1, 100, 65_536]) {
    t.strictSame(await read(`<root><a>${long}</a><b/></root>`, size, 500), ['1 < root >', '1 a: too large', '1 <b/>', '1 </root>'])
  }
  async function * endless (): AsyncGenerator<Uint8Array> {
    yield Buffer.from('<root><a>')
    const chunk = Buffer.alloc(65_536, 'x')
    for (let count = 0; count < 1600; count++) yield chunk // 100 MiB
    yield Buffer.from('</a></root>')
  }
  await staysBelow(t, 80, async () => {
    const before = process.memoryUsage().rss
    let count = 0
    for await (const { kind } of readDocument(endless(), { opens, longest: 1_000_000 })) if (kind === 'refused') count++
    t.equal(count, 1)
    return (process.memoryUsage().rss - before) / (1024 * 1024)
  }, grown => `${grown.toFixed(1)} MiB more, much less than the piece itself`)
})
