/** A person in rooms with profanity, a client for the terminal, and another one who uses slixmpp. */
import t from 'tap'
import { missing } from '../process.js'
import { profanity } from '../profanity.js'
import { AGAINST_PROSODY, ROOMS, startServer } from '../server.js'
import { Occupant, OCCUPANT_NEEDS } from './occupant.js'

const skip = AGAINST_PROSODY ? 'it is about Sestina' : missing({ profanity: 'profanity', tmux: 'tmux', ...OCCUPANT_NEEDS })
const PASSWORD = 'a-secret-of-Verona'

t.setTimeout(1_200_000)

t.test('a person can use rooms with profanity', { skip }, async t => {
  const server = await startServer(t, 'bookmarks = true\npep = true\n', '', ROOMS)
  for (const local of ['romeo', 'juliet']) await server.addUser(local, PASSWORD)
  const room = `hall@rooms.${server.domain}`
  const juliet = await Occupant.of(t, server, 'juliet', PASSWORD, room)
  await juliet.does('enter Juliet')
  await juliet.hears('Juliet is here [110, 201]')
  await juliet.does('make changesubject=1 persistentroom=1')
  await juliet.does('subject Two households')
  await juliet.does('say Good morrow <&> ünïcödé')
  await juliet.hears('Juliet said: Good morrow <&> ünïcödé')
  const romeo = await profanity(t, server, 'romeo', PASSWORD)

  t.test('who enters sees who is there, the history and the subject', async t => {
    await romeo.enter(`/join ${room} nick Romeo`)
    const screen = await romeo.shows(/has set the room subject: Two households/)
    t.match(screen, /You have joined the room as Romeo, role: participant/)
    t.match(screen, /- Juliet: Good morrow <&> ünïcödé/)
    t.match(screen, /Moderators\n[^\n]* Juliet\b/, 'the list of occupants has the other one')
    await juliet.hears('Romeo is here []')
  })

  t.test('both talk, and each message is there once', async t => {
    await romeo.enter('Is the day so young? <&> 🌹')
    await juliet.hears('Romeo said: Is the day so young? <&> 🌹')
    await romeo.shows(/- Romeo: Is the day so young\?/)
    await juliet.does('say But new struck nine')
    const screen = await romeo.shows(/- Juliet: But new struck nine/)
    t.equal(screen.match(/- Romeo: Is the day so young\?/g)?.length, 1)
    t.equal(juliet.heard('Romeo said: Is the day so young? <&> 🌹'), 1)
  })

  t.test('the subject is changed by either', async () => {
    await romeo.enter('/subject set "An ancient grudge"')
    await juliet.hears('Romeo set the subject: An ancient grudge')
    await romeo.shows(/\*Romeo has set the room subject: An ancient grudge/)
    await juliet.does('subject New mutiny')
    await romeo.shows(/\*Juliet has set the room subject: New mutiny/)
  })

  t.test('a nick is changed', async () => {
    await romeo.enter('/nick Montague')
    await juliet.hears('Romeo is now Montague')
    await juliet.hears('Montague is here []')
    await romeo.enter('Call me but love')
    await juliet.hears('Montague said: Call me but love')
    await romeo.enter('/nick Romeo')
    await juliet.hears('Montague is now Romeo')
  })

  t.test('who is kicked is told so, and by whom and why', async () => {
    await juliet.does('kick Romeo Peace, I say')
    await juliet.hears('Romeo is gone [307]')
    await romeo.shows(new RegExp(`Kicked from ${room} by Juliet, reason: Peace, I say`))
  })

  t.test('who was kicked enters again, and sees the history with the last subject', async t => {
    await juliet.does('say He is gone')
    await juliet.hears('Juliet said: He is gone')
    await romeo.enter(`/join ${room} nick Romeo`)
    const screen = await romeo.shows(/has set the room subject: New mutiny/)
    for (const line of ['Juliet: Good morrow', 'Romeo: Is the day so young', 'Juliet: But new struck nine', 'Montague: Call me but love', 'Juliet: He is gone']) {
      t.equal(screen.split(`- ${line}`).length, 2, `'${line}' is there once`)
    }
    await romeo.enter('Here I am again')
    await juliet.hears('Romeo said: Here I am again')
    await romeo.enter('/close')
    await juliet.hears('Romeo is gone []')
  })
  t.test('an invitation is shown, with its room and reason, and can be accepted', async t => {
    await juliet.does(`invite romeo@${server.domain} Stay but a little`)
    const screen = await romeo.shows(/Message: Stay but a little/)
    t.match(screen, new RegExp(`Room +: ${room}\\s`))
    await romeo.enter(`/join ${room} nick Pilgrim`)
    await juliet.hears('Pilgrim is here []')
    await romeo.shows(/You have joined the room as Pilgrim/)
  })
})
