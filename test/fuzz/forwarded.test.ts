/** The contents of one stanza cannot become more than that stanza in the stream that it is forwarded to. */
import t from 'tap'
import { play } from './forwarded.js'

t.test('a forwarded stanza is read on every stream as one element with the same meaning', async t => {
  t.ok(play(1, 6000) > 2000, 'enough random stanzas were accepted')
})
