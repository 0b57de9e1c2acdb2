/** Times, data forms and paging, written and read. Hostile rows come first. */
import t, { type Test } from 'tap'
import fc from 'fast-check'
import { children, textOf, type Element } from '../../lib/xml/element.js'
import { formatDateTime, formatOffset, parseDateTime } from '../../lib/xmpp/datetime.js'
import { StanzaError } from '../../lib/xmpp/errors.js'
import { cancelForm, DataForm, field, FormError, formIn, readForm, resultTable, type FormField } from '../../lib/xmpp/form.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { pagingElement, pagingRequest, readPage, readPaging } from '../../lib/xmpp/paging.js'
import { parseElement } from '../parse.js'

function refuses (t: Test, attempt: () => unknown, condition: string, name: string): void {
  try {
    attempt()
  } catch (error) {
    if (!(error instanceof StanzaError)) throw error
    t.equal(error.condition, condition, name)
    return
  }
  t.fail(`not refused: ${name}`)
}

t.test('XEP-0082: a moment is written as Date writes it, whichever was written before', t => {
  const from = Date.UTC(0, 0) - 1900 * 366 * 86_400_000, to = Date.UTC(9999, 11, 31, 23, 59, 59, 999)
  const near = fc.integer({ min: -200_000_000, max: 200_000_000 }), far = fc.integer({ min: from, max: to })
  fc.assert(fc.property(fc.array(fc.oneof(near, far)), moments => {
    for (const moment of moments) {
      const text = new Date(moment).toISOString()
      const written = (milliseconds: boolean): string | undefined => {
        try {
          return formatDateTime(moment, { milliseconds })
        } catch {
          return undefined
        }
      }
      const isYear = text.length === 24
      if (written(true) !== (isYear ? text : undefined)) return false
      if (written(false) !== (isYear ? text.replace(/\.\d+Z$/, 'Z') : undefined)) return false
    }
    return true
  }))
  t.end()
})

t.test('XEP-0082: a text that is not a time is refused', async t => {
  for (const text of [
    '', 'Z', '1969-07-21', '02:56:15Z', '1969-07-21T02:56:15', '1969-07-21 02:56:15Z', '1969-07-21T02:56Z', '1969-07-21t02:56:15Z',
    '1969-07-21T02:56:15z',
    '19690721T02:56:15', ' 1969-07-21T02:56:15Z', '1969-07-21T02:56:15Z\n', '1969-7-21T02:56:15Z', '69-07-21T02:56:15Z',
    '+001969-07-21T02:56:15Z',
    '-1969-07-21T02:56:15Z', '1969-13-01T00:00:00Z', '1969-00-01T00:00:00Z', '1969-02-29T00:00:00Z', '1969-04-31T00:00:00Z',
    '1969-01-00T00:00:00Z',
    '1969-01-32T00:00:00Z', '1969-07-21T24:00:00Z', '1969-07-21T25:00:00Z', '1969-07-21T02:60:15Z', '1969-07-21T02:56:60Z',
    '1969-07-21T02:56:15.Z',
    '1969-07-21T02:56:15,5Z', '1969-07-21T02:56:15+5', '1969-07-21T02:56:15+0500', '1969-07-21T02:56:15+05:60', '1969-07-21T02:56:15+14:01',
    '1969-07-21T02:56:15+24:00', '1969-07-21T02:56:15 05:00',
    '\u0661969-07-21T02:56:15Z', `1969-07-21T02:56:15.${'1'.repeat(31)}Z`, 'NaN', 'now',
  ]) refuses(t, () => parseDateTime(text), 'bad-request', JSON.stringify(text))
})

t.test('XEP-0082: a time is read in its zone, and written in UTC', async t => {
  const moon = Date.UTC(1969, 6, 21, 2, 56, 15)
  for (const [text, moment] of [
    ['1969-07-21T02:56:15Z', moon], ['1969-07-20T21:56:15-05:00', moon], ['1969-07-21T16:56:15+14:00', moon],
    ['1969-07-21T02:56:15+00:00', moon],
    ['1969-07-21T02:56:15-00:00', moon], ['1969-07-21T02:56:15.5Z', moon + 500], ['1969-07-21T02:56:15.1239999Z', moon + 123],
    ['2024-02-29T23:59:59.999Z', Date.UTC(2024, 1, 29, 23, 59, 59, 999)], ['0000-01-01T00:00:00Z', -62_167_219_200_000],
  ] as const) t.equal(parseDateTime(text), moment, text)
  t.equal(formatDateTime(moon), '1969-07-21T02:56:15Z')
  t.equal(formatDateTime(moon + 7), '1969-07-21T02:56:15Z')
  t.equal(formatDateTime(moon + 7, { milliseconds: true }), '1969-07-21T02:56:15.007Z')
  t.throws(() => formatDateTime(Date.UTC(10_000, 0)), RangeError)
  t.throws(() => formatDateTime(NaN), RangeError)
  const [min, max] = [new Date(-62_167_219_200_000), new Date(253_402_300_799_999)]
  fc.assert(fc.property(fc.date({ min, max, noInvalidDate: true }), date => {
    const text = formatDateTime(date.getTime(), { milliseconds: true })
    if (parseDateTime(text) !== date.getTime()) throw new Error(date.toISOString())
  }), { seed: 42 })
})

t.test('XEP-0202: an offset has its sign and two digits each', async t => {
  for (const [minutes, text] of [[0, '+00:00'], [-300, '-05:00'], [330, '+05:30'], [-1, '-00:01'],
    [840, '+14:00']] as const) t.equal(formatOffset(minutes), text)
  for (const minutes of [841, -841, 0.5, NaN, Infinity]) {
    t.throws(() => formatOffset(minutes), RangeError, String(minutes))
  }
})

// ---- Data forms -------------------------------------------------------------

const NAME = field.text('name', { label: 'Name', description: 'What it is called', required: true })
const PASSWORD = field.secret('password')
const ABOUT = field.lines('about', { label: 'About' })
const OPEN = field.flag('open', { label: 'Open' })
const SEATS = field.count('seats', { least: 1, most: 100 })
const WHO = field.choice('who', [{ value: 'anyone', label: 'Anyone' }, { value: 'members', label: 'Members' }])
const TAGS = field.choices('tags', ['a', 'b', 'c'])
const OWNER = field.jid('owner')
const GUESTS = field.jids('guests')
const WORDS = field.texts('words', { required: true })
const SECRET = field.hidden('key')
const ROOM = new DataForm('urn:room', [NAME, PASSWORD, ABOUT, OPEN, SEATS, WHO, TAGS, OWNER, GUESTS, SECRET], { title: 'A room',
  instructions: 'Fill in' })

/** Returns a submitted room form with these fields as XML; the name is filled in already. */
function submitted (fields: string, type = 'submit'): Element {
  return parseElement(`<x xmlns='jabber:x:data' type='${type}'><field var='FORM_TYPE'><value>urn:room</value></field>` +
    `<field var='name'><value>Hall</value></field>${fields}</x>`)
}

function one (name: string, ...values: string[]): string {
  return `<field var='${name}'>${values.map(value => `<value>${value}</value>`).join('')}</field>`
}

t.test('a form that does not fit is refused, and the error names the field', async t => {
  const rows: readonly (readonly [fields: string, condition: string, field?: string])[] = [
    [one('open', 'yes'), 'not-acceptable', 'open'], [one('open', 'TRUE'), 'not-acceptable', 'open'],
    [one('open', '1', '0'), 'bad-request', 'open'],
    [one('seats', '0'), 'not-acceptable', 'seats'], [one('seats', '101'), 'not-acceptable', 'seats'],
    [one('seats', '1e1'), 'not-acceptable', 'seats'],
    [one('seats', ' 5'), 'not-acceptable', 'seats'], [one('seats', '9'.repeat(400)), 'not-acceptable', 'seats'],
    [one('seats', '-1'), 'not-acceptable', 'seats'],
    [one('who', 'nobody'), 'not-acceptable', 'who'], [one('who', '__proto__'), 'not-acceptable', 'who'],
    [one('tags', 'a', 'd'), 'not-acceptable', 'tags'],
    [one('owner', 'a@b@c'), 'not-acceptable', 'owner'], [one('guests', 'a@b', '@'), 'not-acceptable', 'guests'],
    [one('password', 'a', 'b'), 'bad-request', 'password'],
    [one('name', 'again'), 'bad-request', 'name'], [one('FORM_TYPE', 'urn:other'), 'bad-request', 'FORM_TYPE'],
    ['<field><value>x</value></field>', 'bad-request'],
    [one('x') + one('x'), 'bad-request', 'x'],
  ]
  for (const [fields, condition, name] of rows) {
    try {
      ROOM.read(submitted(fields))
      t.fail(fields)
    } catch (error) {
      if (!(error instanceof FormError)) throw error
      t.strictSame([error.condition, error.field], [condition, name], fields)
    }
  }
  for (const [text, condition] of [
    ["<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:room</value></field></x>", 'not-acceptable'],
    ["<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:room</value></field>" +
      "<field var='name'><value/></field></x>", 'not-acceptable'],
    ["<x xmlns='jabber:x:data' type='submit'><field var='name'><value>x</value></field></x>", 'bad-request'],
    ["<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:other</value></field></x>", 'bad-request'],
    ["<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='text-single'><value>urn:room</value></field></x>", 'bad-request'],
    ["<x xmlns='jabber:x:data' type='form'/>", 'bad-request'], ["<x xmlns='jabber:x:data' type='cancel'/>", 'bad-request'],
    ["<x xmlns='jabber:x:data' type='constructor'/>", 'bad-request'], ["<x xmlns='jabber:x:data'/>", 'bad-request'],
    ["<y xmlns='jabber:x:data' type='submit'/>", 'bad-request'],
  ] as const) refuses(t, () => ROOM.read(parseElement(text)), condition, text)
  refuses(t, () => ROOM.read(submitted(one('colour', 'red')), { unknown: 'refused' }), 'feature-not-implemented',
    'an unknown field, if unknown fields are refused')
  refuses(t, () => new DataForm(undefined, [WORDS]).read(parseElement("<x xmlns='jabber:x:data' type='submit'><field var='words'/></x>")),
    'not-acceptable', 'a required list that is empty')
})

t.test('a submitted value is read by the kind of its field', async t => {
  const answers = ROOM.read(submitted(one('about', 'a', '', 'b') + one('open', 'true') + one('seats', '12') + one('who',
    'members') + one('tags', 'c', 'a', 'c') +
    one('owner', 'Romeo@Example.org') + one('guests', 'a@b', 'A@B', '', 'c@d/e') + one('password', ' x ') + one('colour', 'red')))
  t.equal(answers.get(NAME), 'Hall')
  t.equal(answers.get(PASSWORD), ' x ')
  t.equal(answers.get(ABOUT), 'a\n\nb')
  t.equal(answers.get(OPEN), true)
  t.equal(answers.get(SEATS), 12)
  t.equal(answers.get(WHO), 'members')
  t.strictSame(answers.get(TAGS), ['c', 'a'], 'an option chosen twice counts once')
  t.equal(answers.get(OWNER)?.toString(), 'romeo@example.org')
  t.strictSame(answers.get(GUESTS)?.map(String), ['a@b', 'c@d/e'])
  t.notOk(answers.has(SECRET))
  t.equal(new DataForm('urn:room', [NAME]).read(submitted(''), { unknown: 'refused' }).get(NAME), 'Hall')

  const empty = ROOM.read(submitted(['about', 'open', 'seats', 'who', 'owner',
    'password'].map(name => `<field var='${name}'/>`).join('') + one('tags') + one('guests', '')))
  for (const one of [ABOUT, OPEN, SEATS, WHO, OWNER, PASSWORD, SECRET]) {
    t.equal(empty.get<unknown>(one), undefined, one.name)
  }
  for (const one of [TAGS, GUESTS]) t.strictSame(empty.get<unknown>(one), [], one.name)
  const blank = ROOM.read(submitted(['open', 'seats', 'who', 'owner'].map(name => one(name, '')).join('') + one('password', '')))
  for (const one of [OPEN, SEATS, WHO, OWNER]) t.equal(blank.get<unknown>(one), undefined, `${one.name}: an empty text is no value`)
  t.equal(blank.get(PASSWORD), '')
  t.equal(new DataForm(undefined, [field.choice('c', ['', 'x'])]).read(parseElement(`<x xmlns='jabber:x:data' type='submit'>${one('c',
    '')}</x>`))
    .get(field.choice('c', ['', 'x'])), '', 'an option may be the empty text')
})

t.test('a form to fill in is written with all that its reader needs', async t => {
  const form = ROOM.form([NAME.is('Hall'), OPEN.is(false), WHO.is('anyone'), TAGS.is(['a',
    'b']), ABOUT.is('x\r\ny'), GUESTS.is([parseJid('A@b')]), SEATS.is(3)])
  t.strictSame(children(form).map(element => element.getName()), ['title', 'instructions', 'field', ...Array(10).fill('field')])
  const raw = readForm(form)
  t.equal(raw.type, 'form')
  t.equal(raw.formType, 'urn:room')
  t.strictSame([...raw.fields.values()].map(({ name, type, values }) => [name, type, values]), [
    ['name', 'text-single', ['Hall']], ['password', 'text-private', []], ['about', 'text-multi', ['x', 'y']], ['open',
      'boolean', ['0']], ['seats', 'text-single', ['3']],
    ['who', 'list-single', ['anyone']], ['tags', 'list-multi', ['a', 'b']], ['owner', 'jid-single', []], ['guests',
      'jid-multi', ['a@b']], ['key', 'hidden', []],
  ])
  const [name, who] = [form.getChildByAttr('var', 'name'), form.getChildByAttr('var', 'who')]
  if (!isElement(name) || !isElement(who)) throw new Error('no such field')
  t.equal(name.toString(), '<field var="name" type="text-single" label="Name">' +
    '<desc>What it is called</desc><required/><value>Hall</value></field>')
  t.equal(who.toString(), '<field var="who" type="list-single"><value>anyone</value>' +
    '<option label="Anyone"><value>anyone</value></option><option label="Members"><value>members</value></option></field>')
  const note: FormField<string> = field.fixed('note')
  const noted = new DataForm(undefined, [note, NAME])
  t.equal(noted.form([note.is('Well')]).toString(), '<x xmlns="jabber:x:data" type="form"><field type="fixed"><value>Well</value></field>' +
    '<field var="name" type="text-single" label="Name"><desc>What it is called</desc><required/></field></x>')
  t.equal(readForm(noted.form([note.is('Well')])).fields.has('note'), false)
})

t.test('results, submissions, tables and cancellations are written', async t => {
  t.equal(ROOM.result([OPEN.is(true)]).toString(),
    '<x xmlns="jabber:x:data" type="result"><field var="FORM_TYPE" type="hidden"><value>urn:room</value></field>' +
    '<field var="open" type="boolean" label="Open"><value>1</value></field></x>')
  t.equal(ROOM.read(ROOM.submit([NAME.is('Hall'), OWNER.is(parseJid('a@b'))])).get(OWNER), parseJid('a@b'))
  t.equal(cancelForm().toString(), '<x xmlns="jabber:x:data" type="cancel"/>')
  t.equal(readForm(cancelForm()).type, 'cancel')
  t.equal(resultTable(undefined, [SEATS], [[SEATS.is(1)],
    [SEATS.is(2)]]).toString(), '<x xmlns="jabber:x:data" type="result"><reported><field var="seats" type="text-single"/></reported>' +
    '<item><field var="seats"><value>1</value></field></item><item><field var="seats"><value>2</value></field></item></x>')
  const payload = parseElement("<query xmlns='q'><x xmlns='other'/><x xmlns='jabber:x:data' type='result'>" +
    "<field var='FORM_TYPE' type='text-single'><value>n</value></field></x></query>")
  const found = formIn(payload)
  t.ok(found)
  if (found !== undefined) t.strictSame([readForm(found).formType, readForm(found).fields.get('FORM_TYPE')?.values],
    [undefined, ['n']], 'XEP-0068: a visible FORM_TYPE does not count')
  t.equal(formIn(parseElement("<query xmlns='q'/>")), undefined)
})

// ---- Paging -----------------------------------------------------------------

function paged (inside: string): Element {
  return parseElement(`<query xmlns='q'><set xmlns='http://jabber.org/protocol/rsm'>${inside}</set></query>`)
}

t.test('XEP-0059: malformed paging is a bad request', async t => {
  for (const inside of ['<max>ten</max>', '<max>-1</max>', '<max/>', '<max>1.5</max>', '<max>0x10</max>', '<max>1</max><max>2</max>',
    '<index>-1</index>', '<index/>',
    '<index>1</index><after>a</after>', '<index>1</index><before/>', '<after>a</after><after>b</after>', '<before/><before/>']) {
    refuses(t, () => readPaging(paged(inside)), 'bad-request', inside)
  }
  const set = "<set xmlns='http://jabber.org/protocol/rsm'/>"
  refuses(t, () => readPaging(parseElement(`<query xmlns='q'>${set}${set}</query>`)), 'bad-request', 'two')
  for (const inside of ['<count>many</count>', "<first index='x'>a</first>", '<first>a</first><first>b</first>']) refuses(t,
    () => readPage(paged(inside)), 'bad-request', inside)
})

t.test('XEP-0059: a request says which page', async t => {
  const nothing = { max: undefined, after: undefined, before: undefined, index: undefined }
  t.equal(readPaging(parseElement("<query xmlns='q'><set xmlns='other'/></query>")), undefined)
  for (const [inside, paging] of [
    ['', {}], ['<max>10</max>', { max: 10 }], ['<max> 0 </max>', { max: 0 }], ['<max>99999999999999999999</max>', { max: 0xffff_ffff }],
    ['<max>5</max><after>x y</after>', { max: 5, after: 'x y' }], ['<before/>', { before: '' }],
    ['<before>z</before>', { before: 'z' }], ['<after/>', {}],
    ['<after>a</after><before>z</before>', { after: 'a', before: 'z' }], ['<index>371</index><max>1</max>', { index: 371, max: 1 }],
    ["<max xmlns='other'>x</max>", {}],
  ] as const) {
    t.strictSame(readPaging(paged(inside)), { ...nothing, ...paging }, inside)
    t.strictSame(readPaging(wrapped(pagingRequest(paging))), { ...nothing, ...paging }, `${inside}, written`)
  }
})

t.test('XEP-0059: an answer says which page it is', async t => {
  t.equal(pagingElement({ first: 'a', last: 'b', index: 0, count: 800 }).toString(),
    '<set xmlns="http://jabber.org/protocol/rsm"><first index="0">a</first><last>b</last><count>800</count></set>')
  t.equal(pagingElement({ count: 0 }).toString(), '<set xmlns="http://jabber.org/protocol/rsm"><count>0</count></set>',
    'an empty page has no first item')
  t.equal(pagingElement({ first: 'a' }).toString(), '<set xmlns="http://jabber.org/protocol/rsm"><first>a</first><last>a</last></set>',
    'one item is first and last')
  for (const page of [{ first: 'a', last: 'b', index: 3, count: 9 }, { first: undefined, last: undefined, index: undefined, count: 0 }]) {
    t.strictSame(readPage(wrapped(pagingElement(page))), page)
  }
  t.equal(readPage(parseElement("<fin xmlns='q'/>")), undefined)
  t.equal(textOf(pagingElement({ count: 7 }).children.find(isElement) ?? pagingElement({})), '7')
})

function isElement (node: unknown): node is Element {
  return typeof node === 'object' && node !== null
}

/** Writes and parses a payload with this element. */
function wrapped (element: Element): Element {
  return parseElement(`<query xmlns='q'>${element.toString()}</query>`)
}
