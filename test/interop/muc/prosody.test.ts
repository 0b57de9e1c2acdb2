/** Rooms that users of Sestina and of a real Prosody share. */
import t from 'tap'
import { startProsody } from '../s2s/servers.js'
import { shared, skip } from './shared.js'

t.setTimeout(1_200_000)

t.test('users of Prosody and of Sestina meet in rooms of either, and nobody is a ghost', { skip }, t => shared(t, startProsody))
