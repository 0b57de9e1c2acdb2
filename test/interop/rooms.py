"""Scenes in rooms between people who use slixmpp, an independent XMPP library for Python; prints the results as TAP."""
import asyncio
import contextlib
import io
import sys
import xml.etree.ElementTree as ET

from slixmpp import JID
from slixmpp.exceptions import IqError, PresenceError

from scenes import PATIENCE, main, managed, told

MUC = 'http://jabber.org/protocol/muc'


class Guest:
    """A device in a room, and what the room told it."""

    def __init__(self, device, hall):
        self.device, self.hall = device, hall
        self.muc = device['xep_0045']
        device.add_event_handler('groupchat_presence', lambda _: device.changed.set())  # the library has taken note of it

    async def enters(self, nick, **how):
        """Enters, and returns what the library says of that: the own presence, the subject, the others, the history."""
        with contextlib.redirect_stdout(io.StringIO()):  # COMPAT(slixmpp 1.8.3): it prints each delay that it reads
            return await self.muc.join_muc_wait(self.hall, nick, timeout=PATIENCE, **how)

    async def refused(self, nick, **how):
        """Tries to enter, and returns the condition of the error."""
        try:
            await self.enters(nick, **how)
        except PresenceError as error:
            return error.presence['error']['condition']
        raise AssertionError(f'{nick} got in')

    async def sees(self, nick, kind, *codes):
        """Returns the presence of somebody with these status codes."""
        return await self.device.gets(
            lambda s: s.name == 'presence' and s['from'] == f'{self.hall}/{nick}' and s['type'] == kind
            and {*codes} <= s['muc']['status_codes'], f'{kind} of {nick} with {codes}')

    async def hears(self, nick, body, kind='groupchat'):
        got = await self.device.gets(
            lambda s: s.name == 'message' and s['from'] == f'{self.hall}/{nick}' and s['body'] == body, f'{body!r} of {nick}')
        assert got['type'] == kind, got
        return got

    def says(self, body):
        self.device.send_message(mto=self.hall, mbody=body, mtype='groupchat')

    def leaves(self, nick):
        self.muc.leave_muc(self.hall, nick)

    async def is_in(self, nick):
        """XEP-0410: asks the room whether it is still in."""
        try:
            await self.device['xep_0199'].send_ping(JID(f'{self.hall}/{nick}'), timeout=PATIENCE)
        except IqError as error:
            assert error.iq['error']['condition'] == 'not-acceptable', error.iq
            return False
        return True

    async def lists(self, *nicks):
        """Waits until the library knows exactly these occupants."""
        def roster():
            return sorted(self.muc.get_roster(self.hall))
        await self.device.has(lambda: roster() == [*nicks], f'the occupants {nicks}')


async def guest(stage, room, local, resource, plugins=()):
    device = stage.device(local, resource, plugins=('0004', '0045', *plugins))
    await (managed(device) if '0198' in plugins else device.online())
    return Guest(device, JID(f'{room}@rooms.{stage.domain}'))


async def makes(owner, nick, **fields):
    """Makes a room and configures it with these fields, as a person does who fills in its form."""
    presence, *_ = await owner.enters(nick)
    assert {110, 201} <= presence['muc']['status_codes'], presence
    form = await owner.muc.get_room_config(owner.hall, timeout=PATIENCE)
    there = form.get_fields()
    for name, value in fields.items():
        assert f'muc#roomconfig_{name}' in there, f'the form has no {name}'
        there[f'muc#roomconfig_{name}']['value'] = value
    await owner.muc.set_room_config(owner.hall, form, timeout=PATIENCE)


async def making(stage):
    """a room is locked until its owner has filled in the form; then it is listed, shows its features, and others enter"""
    romeo = await guest(stage, 'hall', 'romeo', 'orchard')
    juliet = await guest(stage, 'hall', 'juliet', 'balcony')
    disco = romeo.device['xep_0030']
    items = await disco.get_items(jid=stage.domain, timeout=PATIENCE)
    assert romeo.hall.domain in [str(jid) for jid, _, _ in items['disco_items']['items']], items
    presence, *_ = await romeo.enters('Romeo')
    assert (presence['muc']['affiliation'], presence['muc']['role']) == ('owner', 'moderator'), presence
    assert await juliet.refused('Juliet') == 'item-not-found'
    form = await romeo.muc.get_room_config(romeo.hall, timeout=PATIENCE)
    form.get_fields()['muc#roomconfig_roomname']['value'] = 'The great hall'
    await romeo.muc.set_room_config(romeo.hall, form, timeout=PATIENCE)
    info = await disco.get_info(jid=romeo.hall, timeout=PATIENCE)
    assert ('conference', 'text', None, 'The great hall') in info['disco_info']['identities'], info
    assert {MUC, 'muc_temporary', 'muc_open', 'muc_semianonymous'} <= set(info['disco_info']['features']), info
    items = await disco.get_items(jid=romeo.hall.domain, timeout=PATIENCE)
    assert romeo.hall in [jid for jid, _, _ in items['disco_items']['items']], items
    presence, *_ = await juliet.enters('Juliet')
    assert presence['muc']['affiliation'] == 'none' and presence['muc']['role'] == 'participant', presence
    seen = await romeo.sees('Juliet', 'available')
    assert seen['muc']['jid'] == juliet.device.boundjid, 'a moderator sees the address'
    await juliet.lists('Juliet', 'Romeo')
    await romeo.lists('Juliet', 'Romeo')
    assert not juliet.muc.get_jid_property(juliet.hall, 'Romeo', 'jid'), 'others do not'
    romeo.leaves('Romeo')
    juliet.leaves('Juliet')
    await juliet.sees('Juliet', 'unavailable', 110)


async def talking(stage):
    """people talk; who enters later gets the history and the subject; a private message is for one"""
    romeo = await guest(stage, 'talk', 'romeo', 'orchard')
    juliet = await guest(stage, 'talk', 'juliet', 'balcony')
    nurse = await guest(stage, 'talk', 'nurse', 'chamber')
    await makes(romeo, 'Romeo')
    romeo.muc.set_subject(romeo.hall, 'Love <&> light 🌹')
    await juliet.enters('Juliet')
    words = [f'{n} <&>"\' ünïcödé 🥀 \n line' for n in range(20)]
    for word in words:
        romeo.says(word)
        juliet.says(word)
    for one in (romeo, juliet):  # all see all in the same order, their own words too
        for who in ('Romeo', 'Juliet'):
            for word in words:
                await one.hears(who, word)
    _, subject, others, history = await nurse.enters('Nurse', maxstanzas=5)
    assert subject['subject'] == 'Love <&> light 🌹' and subject['from'] == f'{romeo.hall}/Romeo', subject
    assert sorted(other['from'].resource for other in others) == ['Juliet', 'Nurse', 'Romeo'], others
    assert len(history) == 5 and all(message['delay']['stamp'] for message in history), history
    assert {message['body'] for message in history} <= {*words[-5:]}, history
    nurse.says('Madam!')
    for one in (romeo, juliet, nurse):
        await one.hears('Nurse', 'Madam!')
    juliet.device.send_message(mto=f'{juliet.hall}/Romeo', mbody='Hist!', mtype='chat')
    await romeo.hears('Juliet', 'Hist!', 'chat')
    romeo.says('I hear')
    await nurse.hears('Romeo', 'I hear')
    assert not [s for s in nurse.device.came if s['body'] == 'Hist!'], 'a private message went to others'


async def renaming(stage):
    """a nick is changed, one that is taken is refused, and a self-ping tells who is still in"""
    romeo = await guest(stage, 'names', 'romeo', 'orchard')
    juliet = await guest(stage, 'names', 'juliet', 'balcony')
    await makes(romeo, 'Romeo')
    assert await juliet.refused('Romeo') == 'conflict'
    await juliet.enters('Juliet')
    juliet.device.send_presence(pto=f'{juliet.hall}/Capulet')
    gone = await romeo.sees('Juliet', 'unavailable', 303)
    assert gone.xml.find(f'.//{{{MUC}#user}}item').get('nick') == 'Capulet', gone
    await romeo.sees('Capulet', 'available')
    await juliet.sees('Capulet', 'available', 110)
    await romeo.lists('Capulet', 'Romeo')
    await juliet.lists('Capulet', 'Romeo')
    juliet.device.send_presence(pto=f'{juliet.hall}/Romeo')
    refused = await juliet.device.gets(lambda s: s.name == 'presence' and s['type'] == 'error', 'an error')
    assert refused['error']['condition'] == 'conflict', refused
    juliet.device.send_presence(pto=f'{juliet.hall}/Capulet', pshow='away')
    await romeo.sees('Capulet', 'away')
    assert await juliet.is_in('Capulet')
    juliet.leaves('Capulet')
    await romeo.sees('Capulet', 'unavailable')
    assert not await juliet.is_in('Capulet')


async def ruling(stage):
    """a moderator kicks, an admin bans; a members-only room refuses others until somebody invites them"""
    romeo = await guest(stage, 'rules', 'romeo', 'orchard')
    juliet = await guest(stage, 'rules', 'juliet', 'balcony')
    nurse = await guest(stage, 'rules', 'nurse', 'chamber')
    await makes(romeo, 'Romeo')
    await juliet.enters('Juliet')
    await nurse.enters('Nurse')
    await romeo.muc.set_role(romeo.hall, 'Nurse', 'none', reason='Peace!', timeout=PATIENCE)
    kicked = await nurse.sees('Nurse', 'unavailable', 110, 307)
    assert kicked['muc']['item']['reason'] == 'Peace!', kicked
    await juliet.sees('Nurse', 'unavailable', 307)
    await nurse.enters('Nurse')
    try:
        await juliet.muc.set_role(juliet.hall, 'Nurse', 'none', timeout=PATIENCE)
    except IqError as error:
        assert error.iq['error']['condition'] == 'forbidden', error.iq
    else:
        raise AssertionError('a participant kicked somebody')
    await romeo.muc.set_affiliation(romeo.hall, 'outcast', jid=nurse.device.boundjid.bare, timeout=PATIENCE)
    await nurse.sees('Nurse', 'unavailable', 110, 301)
    await juliet.sees('Nurse', 'unavailable', 301)
    assert await nurse.refused('Nurse') == 'forbidden'
    outcasts = await romeo.muc.get_affiliation_list(romeo.hall, 'outcast', timeout=PATIENCE)
    assert list(map(str, outcasts)) == [nurse.device.boundjid.bare], outcasts
    await romeo.muc.set_affiliation(romeo.hall, 'none', jid=nurse.device.boundjid.bare, timeout=PATIENCE)
    form = await romeo.muc.get_room_config(romeo.hall, timeout=PATIENCE)
    form.get_fields()['muc#roomconfig_membersonly']['value'] = True
    await romeo.muc.set_room_config(romeo.hall, form, timeout=PATIENCE)
    await juliet.sees('Juliet', 'unavailable', 110, 322)
    assert await nurse.refused('Nurse') == 'registration-required'
    romeo.muc.invite(romeo.hall, JID(nurse.device.boundjid.bare), reason='Come in')
    invited = await nurse.device.gets(lambda s: s.name == 'message' and s['from'] == romeo.hall and s['muc']['invite']['reason'] == 'Come in', 'an invitation')
    assert invited['muc']['invite']['from'].bare == romeo.device.boundjid.bare or invited['muc']['invite']['from'] == f'{romeo.hall}/Romeo', invited
    presence, *_ = await nurse.enters('Nurse')
    assert presence['muc']['affiliation'] == 'member', presence
    await romeo.lists('Nurse', 'Romeo')
    await nurse.lists('Nurse', 'Romeo')


async def asks(what):
    """Asks the caller to do something to the server, and waits until it is done."""
    print(f'# {what} the server', flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def resumes(*guests):
    for one in guests:
        resumed = told(one.device, 'session_resumed')
        one.device.connect((one.device.stage.host, one.device.stage.port), force_starttls=True)
        await asyncio.wait_for(resumed, PATIENCE)


async def said_to_all(speaker, nick, body, *guests):
    speaker.says(body)
    for one in guests:
        await one.hears(nick, body)
        await one.device.caught_up()


def check_calm(*guests):
    """Checks that nobody saw anybody go, or got an error."""
    for one in guests:
        loud = [s for s in one.device.came if s['type'] in ('unavailable', 'error')]
        assert not loud, loud
        one.device.came.clear()


async def staying(stage):
    """occupants, subject and history outlive a crash and a planned stop: who resumes is in the room, and who is gone is no ghost"""
    romeo = await guest(stage, 'stay', 'romeo', 'orchard', ('0198',))
    juliet = await guest(stage, 'stay', 'juliet', 'balcony', ('0198',))
    nurse = await guest(stage, 'stay', 'nurse', 'chamber')  # her session cannot be resumed
    await makes(romeo, 'Romeo', persistentroom=True)
    romeo.muc.set_subject(romeo.hall, 'Morning')
    await juliet.enters('Juliet')
    await nurse.enters('Nurse')
    await said_to_all(juliet, 'Juliet', 'one', romeo, juliet, nurse)
    check_calm(romeo, juliet, nurse)

    gone = [told(one.device, 'disconnected') for one in (romeo, juliet, nurse)]
    await asks('kill')
    await asyncio.wait_for(asyncio.gather(*gone), PATIENCE)
    await resumes(romeo, juliet)
    await said_to_all(romeo, 'Romeo', 'two', romeo, juliet)  # now at the latest the room hears that the nurse is gone
    for one, nick in ((romeo, 'Romeo'), (juliet, 'Juliet')):
        await one.sees('Nurse', 'unavailable')
        assert await one.is_in(nick), f'{nick} was put out'
        await one.lists('Juliet', 'Romeo')
    check_calm(romeo, juliet)

    nurse = await guest(stage, 'stay', 'nurse', 'window')
    _, subject, _, history = await nurse.enters('Nurse', maxstanzas=20)
    assert subject['subject'] == 'Morning', subject
    assert [message['body'] for message in history] == ['one', 'two'], history
    await said_to_all(nurse, 'Nurse', 'three', romeo, juliet, nurse)
    for one in (romeo, juliet, nurse):
        await one.lists('Juliet', 'Nurse', 'Romeo')
    check_calm(romeo, juliet, nurse)

    gone = [told(one.device, 'disconnected') for one in (romeo, juliet, nurse)]
    await asks('restart')
    await asyncio.wait_for(asyncio.gather(*gone), PATIENCE)
    await resumes(romeo, juliet)
    await said_to_all(juliet, 'Juliet', 'four', romeo, juliet)
    for one, nick in ((romeo, 'Romeo'), (juliet, 'Juliet')):
        await one.sees('Nurse', 'unavailable')
        assert await one.is_in(nick), f'{nick} was put out'
        await one.lists('Juliet', 'Romeo')
    check_calm(romeo, juliet)


if __name__ == '__main__':
    main(__doc__, [making, talking, renaming, ruling, staying])
