/** Nothing that one stanza holds can become more than that stanza in the stream that it is forwarded to. */
import t from 'tap'
import { play } from './forwarded.js'

t.test('a forwarded stanza is read as one element that says what was said, on every stream', async t => {
  t.ok(play(1, 6000) > 2000, 'enough of what was drawn was accepted')
})
