/** Rooms that users of Sestina and of a real ejabberd share. */
import t from 'tap'
import { startEjabberd } from '../s2s/servers.js'
import { shared, skip } from './shared.js'

t.setTimeout(1_200_000)

t.test('users of ejabberd and of Sestina meet in rooms of either, and nobody is a ghost', { skip }, t => shared(t, startEjabberd))
