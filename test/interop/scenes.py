"""Scenes between devices of people who use slixmpp, an independent XMPP library for Python; prints the results as TAP."""
import argparse
import asyncio
import logging
import sys
import traceback
import xml.etree.ElementTree as ET

from slixmpp import ClientXMPP
from slixmpp.exceptions import IqError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

PATIENCE = 15
BOOKMARKS = 'storage:bookmarks'
ITEMS = 'urn:xmpp:bookmarks:1'


class Device(ClientXMPP):
    """One device of one account. Keeps the stanzas that arrived, so that a scene can ask for them in any order."""

    def __init__(self, stage, local, resource, password=None, direct=False, plugins=()):
        super().__init__(f'{local}@{stage.domain}/{resource}', password or stage.password)
        self.stage = stage
        self.direct = direct
        self.came = []
        self.changed = asyncio.Event()
        self.ca_certs = stage.ca
        self.auto_authorize = None
        self.auto_subscribe = False
        for plugin in ('0012', '0030', '0049', '0054', '0077', '0092', '0191', '0199', '0202', '0203', '0280', *plugins):
            self.register_plugin(f'xep_{plugin}')
        self['xep_0077'].create_account = False
        self.outcome = asyncio.get_running_loop().create_future()
        self.add_event_handler('session_start', lambda _: self.settle('online'))
        self.add_event_handler('failed_all_auth', lambda _: self.settle('refused'))
        self.add_event_handler('connection_failed', lambda why: self.settle(f'no connection: {why}'))
        self.add_event_handler('ssl_invalid_chain', lambda why: self.settle(f'not trusted: {why}'))
        for kind in ('message', 'presence'):
            self.register_handler(Callback(f'keep {kind}', MatchXPath(f'{{jabber:client}}{kind}'), self.keep))

    def settle(self, outcome):
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def keep(self, stanza):
        self.came.append(stanza)
        self.changed.set()

    async def arrive(self):
        """Connects, and returns the outcome."""
        self.connect((self.stage.host, self.stage.direct_port if self.direct else self.stage.port),
                     use_ssl=self.direct, force_starttls=not self.direct, disable_starttls=self.direct)
        return await asyncio.wait_for(self.outcome, PATIENCE)

    async def online(self, available=True):
        outcome = await self.arrive()
        assert outcome == 'online', f'{self.boundjid} is {outcome}'
        if available:
            await self.get_roster()
            self.send_presence()
            await self.gets(lambda s: s.name == 'presence' and s['from'] == self.boundjid, 'its own presence')
        return self

    async def gets(self, wanted, what):
        """Returns the first stanza that arrived and is wanted, and removes it, so that the next call finds the next one."""
        stanza = await self.has(lambda: next((stanza for stanza in self.came if wanted(stanza)), None), what)
        self.came.remove(stanza)
        return stanza

    async def has(self, look, what):
        """Returns what `look` finds among the arrived stanzas, as soon as it finds something."""
        async def wait():
            while not (found := look()):
                self.changed.clear()
                await self.changed.wait()
            return found
        try:
            return await asyncio.wait_for(wait(), PATIENCE)
        except asyncio.TimeoutError:
            came = '\n'.join(map(str, self.came)) or 'nothing'
            raise AssertionError(f'{self.boundjid} never got {what}; it got {came}') from None

    async def hears(self, body):
        return await self.gets(lambda s: s.name == 'message' and s['body'] == body, f'the message {body!r}')

    async def sees(self, whom, kind):
        return await self.gets(lambda s: s.name == 'presence' and s['from'].bare == whom and s['type'] == kind, f'{kind} of {whom}')

    async def caught_up(self):
        """Waits for the answer to a ping: all that the server sent before it has then arrived, as streams keep their order."""
        await self['xep_0199'].send_ping(self.stage.domain, timeout=PATIENCE)

    async def leave(self):
        self.disconnect(wait=2.0)
        await asyncio.wait_for(self.disconnected, PATIENCE)


class Stage:
    def __init__(self, args):
        self.host, self.port, self.direct_port = args.host, args.port, args.direct_port
        self.domain, self.password, self.ca = args.domain, args.password, args.ca
        self.devices = []

    def jid(self, local):
        return f'{local}@{self.domain}'

    def device(self, *args, **how):
        device = Device(self, *args, **how)
        self.devices.append(device)
        return device

    async def clear(self):
        for device in self.devices:
            if device.is_connected():
                await device.leave()
        self.devices.clear()


async def starttls(stage):
    """slixmpp logs in by SCRAM after STARTTLS, trusting the server's certificate"""
    romeo = await stage.device('romeo', 'orchard').online()
    mechanism = romeo['feature_mechanisms'].mech.name
    assert mechanism.startswith('SCRAM-SHA-'), mechanism
    assert romeo.socket.version() in ('TLSv1.2', 'TLSv1.3'), romeo.socket.version()
    assert romeo.boundjid.full == f'{stage.jid("romeo")}/orchard', romeo.boundjid
    return f'{mechanism}, {romeo.socket.version()}'


async def direct_tls(stage):
    """slixmpp logs in by SCRAM over direct TLS"""
    juliet = await stage.device('juliet', 'balcony', direct=True).online()
    mechanism = juliet['feature_mechanisms'].mech.name
    assert mechanism.startswith('SCRAM-SHA-'), mechanism


async def wrong_password(stage):
    """a wrong password is refused, and so is an unknown account"""
    for local in ('romeo', 'nobody'):
        outcome = await stage.device(local, 'orchard', password='wrong').arrive()
        assert outcome == 'refused', outcome


async def roster_handshake(stage):
    """two users subscribe to each other's presence"""
    romeo = await stage.device('romeo', 'orchard').online()
    juliet = await stage.device('juliet', 'balcony').online()
    romeo.update_roster(stage.jid('juliet'), name='Juliet', groups=['Capulets'])
    romeo.send_presence_subscription(pto=stage.jid('juliet'), ptype='subscribe')
    await juliet.sees(stage.jid('romeo'), 'subscribe')
    juliet.send_presence_subscription(pto=stage.jid('romeo'), ptype='subscribed')
    juliet.send_presence_subscription(pto=stage.jid('romeo'), ptype='subscribe')
    await romeo.sees(stage.jid('juliet'), 'subscribed')
    await romeo.sees(stage.jid('juliet'), 'available')
    await romeo.sees(stage.jid('juliet'), 'subscribe')
    romeo.send_presence_subscription(pto=stage.jid('juliet'), ptype='subscribed')
    await juliet.sees(stage.jid('romeo'), 'available')
    await romeo.caught_up()
    item = romeo.client_roster[stage.jid('juliet')]
    assert item['subscription'] == 'both', item
    assert item['name'] == 'Juliet' and item['groups'] == ['Capulets'], item


async def presence(stage):
    """contacts get each presence: available, away, unavailable"""
    romeo = await stage.device('romeo', 'orchard').online()
    juliet = await stage.device('juliet', 'balcony').online()
    await romeo.sees(stage.jid('juliet'), 'available')
    await juliet.sees(stage.jid('romeo'), 'available')
    juliet.send_presence(pshow='away', pstatus='asleep')
    away = await romeo.sees(stage.jid('juliet'), 'away')
    assert away['status'] == 'asleep', away
    await juliet.leave()
    await romeo.sees(stage.jid('juliet'), 'unavailable')


async def chat(stage):
    """messages arrive in order, with all their characters"""
    romeo = await stage.device('romeo', 'orchard').online()
    juliet = await stage.device('juliet', 'balcony').online()
    words = [f'{n} <&>"\' ünïcödé 🥀 \n line' for n in range(100)]
    for word in words:
        romeo.send_message(mto=stage.jid('juliet'), mbody=word, mtype='chat')
    for word in words:
        got = await juliet.gets(lambda s: s.name == 'message' and s['body'], 'a message')
        assert got['body'] == word and got['from'] == romeo.boundjid, got
    juliet.send_message(mto=romeo.boundjid, mbody='Ay me!', mtype='chat')
    await romeo.hears('Ay me!')


async def carbons(stage):
    """each device of a user gets both sides of a conversation by carbons"""
    romeo = await stage.device('romeo', 'orchard').online()
    balcony = await stage.device('juliet', 'balcony').online()
    chamber = await stage.device('juliet', 'chamber').online()
    for device in (balcony, chamber):
        await device['xep_0280'].enable(timeout=PATIENCE)
    balcony.send_message(mto=romeo.boundjid, mbody='Wherefore art thou?', mtype='chat')
    await romeo.hears('Wherefore art thou?')
    sent = await chamber.gets(lambda s: s.name == 'message' and s['carbon_sent']['body'], 'the carbon of what was sent')
    assert sent['carbon_sent']['body'] == 'Wherefore art thou?', sent
    romeo.send_message(mto=balcony.boundjid, mbody='I take thee at thy word', mtype='chat')
    await balcony.hears('I take thee at thy word')
    received = await chamber.gets(lambda s: s.name == 'message' and s['carbon_received']['body'], 'the carbon of what was received')
    assert received['carbon_received']['body'] == 'I take thee at thy word', received
    await balcony.caught_up()
    assert not [s for s in balcony.came if s.name == 'message'], 'the device that took part gets no carbon'


async def offline(stage):
    """offline messages are delivered once, in order, with the time at which they were sent"""
    romeo = await stage.device('romeo', 'orchard').online()
    words = ['Good night', 'good night', 'parting is such sweet sorrow']
    for word in words:
        romeo.send_message(mto=stage.jid('juliet'), mbody=word, mtype='chat')
    await romeo.caught_up()
    juliet = await stage.device('juliet', 'balcony').online()
    for word in words:
        got = await juliet.gets(lambda s: s.name == 'message' and s['body'], 'a message')
        assert got['body'] == word, got
        assert got['delay']['stamp'] is not None, got
    await juliet.leave()
    again = await stage.device('juliet', 'chamber').online()
    await again.caught_up()
    assert not [s for s in again.came if s.name == 'message'], 'a message was delivered twice'


async def blocking(stage):
    """messages of a blocked contact are refused until it is unblocked, and all devices get the changes"""
    romeo = await stage.device('romeo', 'orchard').online()
    balcony = await stage.device('juliet', 'balcony').online()
    chamber = await stage.device('juliet', 'chamber').online()
    for device in (balcony, chamber):
        await device['xep_0191'].get_blocked(timeout=PATIENCE)
    pushed = asyncio.get_running_loop().create_future()
    chamber.add_event_handler('blocked', lambda iq: pushed.done() or pushed.set_result(iq))
    await balcony['xep_0191'].block(stage.jid('romeo'), timeout=PATIENCE)
    push = await asyncio.wait_for(pushed, PATIENCE)
    assert stage.jid('romeo') in map(str, push['block']['items']), push
    romeo.send_message(mto=stage.jid('juliet'), mbody='Hear me', mtype='chat')
    refused = await romeo.gets(lambda s: s.name == 'message' and s['type'] == 'error', 'an error')
    assert refused['error']['condition'] == 'service-unavailable', refused
    blocked = await chamber['xep_0191'].get_blocked(timeout=PATIENCE)
    assert [str(jid) for jid in blocked['blocklist']['items']] == [stage.jid('romeo')], blocked
    await chamber['xep_0191'].unblock(stage.jid('romeo'), timeout=PATIENCE)
    romeo.send_message(mto=balcony.boundjid, mbody='Hear me now', mtype='chat')
    await balcony.hears('Hear me now')
    assert not [s for s in balcony.came if s.name == 'message' and s['body'] == 'Hear me']


async def vcard(stage):
    """a published vCard can be read by others"""
    romeo = await stage.device('romeo', 'orchard').online()
    juliet = await stage.device('juliet', 'balcony').online()
    card = romeo['xep_0054'].make_vcard()
    card['FN'] = 'Romeo Montague'
    card['NICKNAME'] = 'Romeo'
    await romeo['xep_0054'].publish_vcard(card, timeout=PATIENCE)
    got = await juliet['xep_0054'].get_vcard(stage.jid('romeo'), timeout=PATIENCE)
    assert got['vcard_temp']['FN'] == 'Romeo Montague', got


async def private_storage(stage):
    """private XML storage survives from one login to the next"""
    romeo = await stage.device('romeo', 'orchard').online()
    note = ET.Element(f'{{{BOOKMARKS}}}storage')
    ET.SubElement(note, f'{{{BOOKMARKS}}}conference', {'jid': 'verona@rooms.example', 'name': 'Verona'})
    iq = romeo.make_iq_set()
    query = ET.SubElement(iq.xml, '{jabber:iq:private}query')
    query.append(note)
    await iq.send(timeout=PATIENCE)
    await romeo.leave()
    later = await stage.device('romeo', 'garden').online()
    iq = later.make_iq_get()
    query = ET.SubElement(iq.xml, '{jabber:iq:private}query')
    query.append(ET.Element(f'{{{BOOKMARKS}}}storage'))
    answer = await iq.send(timeout=PATIENCE)
    conference = answer.xml.find(f'.//{{{BOOKMARKS}}}conference')
    assert conference is not None and conference.get('name') == 'Verona', answer


async def bookmarks(stage):
    """bookmarks that one device keeps as items (XEP-0402) are a list for another (XEP-0048), and the other way round"""
    newer = await stage.device('juliet', 'balcony', plugins=('0004', '0060')).online()
    older = await stage.device('juliet', 'chamber', plugins=('0048', '0223')).online()
    payload = ET.fromstring(f"<conference xmlns='{ITEMS}' name='Hall' autojoin='true'><nick>J</nick></conference>")
    options = newer['xep_0004'].make_form(ftype='submit')
    options.add_field(var='FORM_TYPE', ftype='hidden', value='http://jabber.org/protocol/pubsub#publish-options')
    options.add_field(var='pubsub#max_items', value='max')
    options.add_field(var='pubsub#access_model', value='whitelist')
    await newer['xep_0060'].publish(newer.boundjid.bare, ITEMS, id='hall@rooms.example', payload=payload,
                                    options=options, timeout=PATIENCE)
    for method in ('xep_0049', 'xep_0223'):
        answer = await older['xep_0048'].get_bookmarks(method=method, timeout=PATIENCE)
        (conference,) = answer.xml.iter(f'{{{BOOKMARKS}}}conference')
        assert dict(conference.attrib) == {'jid': 'hall@rooms.example', 'name': 'Hall', 'autojoin': 'true'}, answer
        assert conference.findtext(f'{{{BOOKMARKS}}}nick') == 'J', answer
    for method, room in (('xep_0049', 'cell@rooms.example'), ('xep_0223', 'tomb@rooms.example')):
        written = older['xep_0048'].stanza.Bookmarks()
        written.add_conference(room, 'J', name='Place')
        await older['xep_0048'].set_bookmarks(written, method=method, timeout=PATIENCE)
        answer = await newer['xep_0060'].get_items(newer.boundjid.bare, ITEMS, timeout=PATIENCE)
        (item,) = answer.xml.iter('{http://jabber.org/protocol/pubsub}item')
        assert item.get('id') == room and item.find(f'{{{ITEMS}}}conference').get('name') == 'Place', answer


async def questions(stage):
    """the server answers disco, ping, version and time, and an unknown request with an error"""
    romeo = await stage.device('romeo', 'orchard').online()
    info = await romeo['xep_0030'].get_info(jid=stage.domain, timeout=PATIENCE)
    identities = {(identity[0], identity[1]) for identity in info['disco_info']['identities']}
    assert ('server', 'im') in identities, identities
    features = info['disco_info']['features']
    for feature in ('urn:xmpp:ping', 'urn:xmpp:blocking', 'urn:xmpp:carbons:2', 'vcard-temp'):
        assert feature in features, f'{feature} is not in {features}'
    await romeo['xep_0199'].send_ping(stage.domain, timeout=PATIENCE)
    version = await romeo['xep_0092'].get_version(stage.domain, timeout=PATIENCE)
    assert version['software_version']['name'], version
    time = await romeo['xep_0202'].get_entity_time(stage.domain, timeout=PATIENCE)
    utc = time.xml.find('.//{urn:xmpp:time}utc')  # read directly: the library adds a second Z to it
    assert utc is not None and utc.text.endswith('Z'), time
    try:
        iq = romeo.make_iq_get(ito=stage.domain)
        ET.SubElement(iq.xml, '{urn:example:unheard-of}query')
        await iq.send(timeout=PATIENCE)
    except IqError as error:
        assert error.iq['error']['condition'] == 'service-unavailable', error.iq
    else:
        raise AssertionError('an unknown request was answered')


async def survival(stage):
    """a session outlives its connection: messages arrive after the resumption, once and in order, and nobody saw it go"""
    romeo = await stage.device('romeo', 'orchard').online()
    juliet = await managed(stage.device('juliet', 'balcony', plugins=('0198',)))
    romeo.send_message(mto=juliet.boundjid, mbody='one', mtype='chat')
    await juliet.hears('one')
    romeo.came.clear()
    before = juliet.boundjid.full
    cut = asyncio.get_running_loop().create_future()
    juliet.add_event_handler('disconnected', lambda _: cut.done() or cut.set_result(None))
    juliet.abort()
    await asyncio.wait_for(cut, PATIENCE)
    for word in ('two', 'three'):
        romeo.send_message(mto=juliet.boundjid, mbody=word, mtype='chat')
    await romeo.caught_up()
    resumed = asyncio.get_running_loop().create_future()
    juliet.add_event_handler('session_resumed', lambda stanza: resumed.done() or resumed.set_result(stanza))
    juliet.connect((stage.host, stage.port), force_starttls=True)
    await asyncio.wait_for(resumed, PATIENCE)
    for word in ('two', 'three'):
        got = await juliet.gets(lambda s: s.name == 'message' and s['body'], 'a message')
        assert got['body'] == word, got
    assert juliet.boundjid.full == before, juliet.boundjid
    juliet.send_message(mto=romeo.boundjid, mbody='Back again', mtype='chat')
    await romeo.hears('Back again')
    assert not [s for s in romeo.came if s.name == 'presence' and s['type'] == 'unavailable'], 'somebody saw it go'
    await juliet.caught_up()
    assert not [s for s in juliet.came if s.name == 'message'], 'a message came twice'


async def managed(device):
    """Brings the device online with a session that can be resumed."""
    enabled = asyncio.get_running_loop().create_future()
    device.add_event_handler('sm_enabled', lambda stanza: enabled.done() or enabled.set_result(stanza))
    await device.online()
    await asyncio.wait_for(enabled, PATIENCE)
    return device


def told(device, event):
    future = asyncio.get_running_loop().create_future()
    device.add_event_handler(event, lambda what: future.done() or future.set_result(what))
    return future


async def planned_stop(stage):
    """sessions outlive a planned stop of the server in the middle of a burst: nothing is lost or doubled, and nobody sees anybody go"""
    romeo = await managed(stage.device('romeo', 'orchard', plugins=('0198',)))
    juliet = await managed(stage.device('juliet', 'balcony', plugins=('0198',)))
    await romeo.sees(stage.jid('juliet'), 'available')
    await juliet.sees(stage.jid('romeo'), 'available')
    addresses = [device.boundjid.full for device in (romeo, juliet)]
    words = [f'line {n}' for n in range(200)]
    for word in words:
        romeo.send_message(mto=stage.jid('juliet'), mbody=word, mtype='chat')
        juliet.send_message(mto=stage.jid('romeo'), mbody=word, mtype='chat')
    for device in (romeo, juliet):  # slixmpp forgets stanzas that it has not written when the connection breaks
        while not device.waiting_queue.empty():
            await asyncio.sleep(0)
    gone = [told(device, 'disconnected') for device in (romeo, juliet)]
    print('# restart the server', flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await asyncio.wait_for(asyncio.gather(*gone), PATIENCE)
    # Before anybody is back, both still have their presence.
    mercutio = await stage.device('romeo', 'street').online()
    await mercutio.gets(lambda s: s.name == 'presence' and s['from'] == addresses[0] and s['type'] == 'available', 'presence of the other device')
    await mercutio.sees(stage.jid('juliet'), 'available')
    await mercutio.leave()
    for device in (romeo, juliet):
        resumed = told(device, 'session_resumed')
        unacknowledged, last = list(device['xep_0198'].unacked_queue), device['xep_0198'].last_ack
        device.connect((stage.host, stage.port), force_starttls=True)
        handled = (await asyncio.wait_for(resumed, PATIENCE))['h'] - last
        # COMPAT(slixmpp 1.8.3): it forgets these when it asks to resume, although XEP-0198 §5 requires to send them again.
        for _, stanza in unacknowledged[handled:]:
            device.send(stanza)
    assert [device.boundjid.full for device in (romeo, juliet)] == addresses
    for sender, device in ((romeo, juliet), (juliet, romeo)):
        sender.send_message(mto=device.boundjid.bare, mbody='the last', mtype='chat')
        for word in [*words, 'the last']:
            got = await device.gets(lambda s: s.name == 'message' and s['body'], 'a message')
            assert got['body'] == word, f'{got["body"]}, not {word}'
        await device.caught_up()
        assert not [s for s in device.came if s.name == 'message' and s['body']], 'a message came twice'
        left = [s for s in device.came if s.name == 'presence' and s['type'] == 'unavailable' and s['from'].resource != 'street']
        assert not left, f'somebody saw it go: {left}'


async def history(stage):
    """the archive has all messages, page by page, each with the id of the live message"""
    romeo = await stage.device('romeo', 'orchard').online()
    juliet = await stage.device('juliet', 'balcony', plugins=('0313', '0359')).online()
    words = [f'line {n}' for n in range(25)]
    for word in words:
        romeo.send_message(mto=stage.jid('juliet'), mbody=word, mtype='chat')
    live = [await juliet.hears(word) for word in words]
    mam = juliet['xep_0313']
    found = []
    async for result in mam.iterate(with_jid=romeo.boundjid.bare, rsm={'max': '10'}, total=1000):
        found.append(result['mam_result'])
    assert [result['forwarded']['stanza']['body'] for result in found][-25:] == words, found
    ids = [one.xml.find('{urn:xmpp:sid:0}stanza-id').get('id') for one in live]
    assert [result['id'] for result in found][-25:] == ids, (ids, found)
    last = []
    async for result in mam.iterate(with_jid=romeo.boundjid.bare, reverse=True, rsm={'max': '3'}, total=3):
        last.append(result['mam_result']['forwarded']['stanza']['body'])
    assert sorted(last) == words[-3:], last
    metadata = await mam.get_archive_metadata(timeout=PATIENCE)
    assert metadata['mam_metadata']['end']['id'] == ids[-1], metadata


async def resting(stage):
    """an inactive client gets no presence and typing of contacts; the last presence comes with the next message, or once it is active"""
    romeo = await stage.device('romeo', 'orchard', plugins=('0085',)).online()
    juliet = await stage.device('juliet', 'balcony', plugins=('0352',)).online()
    await juliet.sees(stage.jid('romeo'), 'available')
    await juliet.caught_up()
    juliet.came.clear()
    csi = juliet['xep_0352']
    assert csi.enabled, 'CSI is not offered'

    async def stirs(*shows):
        for show in shows:
            romeo.send_presence(pshow=show)
            typing = romeo.make_message(mto=stage.jid('juliet'), mtype='chat')
            typing['chat_state'] = 'composing'
            typing.send()
        await romeo.caught_up()

    def came():
        return [(s.name, s['type'] if s.name == 'presence' else s['body']) for s in juliet.came if s['from'] == romeo.boundjid]

    csi.send_inactive()
    juliet.send_message(mto=romeo.boundjid, mbody='Good night', mtype='chat')
    await romeo.hears('Good night')  # the server has handled the element before it
    await stirs('away', 'dnd', 'xa')
    romeo.send_message(mto=stage.jid('juliet'), mbody='Sleep dwell', mtype='chat')
    romeo.send_message(mto=stage.jid('juliet'), mbody='upon thine eyes', mtype='chat')
    await juliet.has(lambda: ('message', 'upon thine eyes') in came(), 'the messages')
    assert came() == [('presence', 'xa'), ('message', 'Sleep dwell'), ('message', 'upon thine eyes')], juliet.came
    juliet.came.clear()
    await stirs('away', 'dnd', 'chat')
    csi.send_active()
    await juliet.has(came, 'what waited')
    await juliet.caught_up()
    assert came() == [('presence', 'chat')], juliet.came
    juliet.came.clear()
    await stirs('dnd', 'away')
    await juliet.caught_up()
    assert [what for what in came() if what[0] == 'presence'] == [('presence', 'dnd'), ('presence', 'away')], juliet.came
    assert len(came()) == 4, 'an active client sees them type'


async def password_change(stage):
    """after a password change the new password logs in, and the old one does not"""
    romeo = await stage.device('romeo', 'orchard').online()
    await romeo['xep_0077'].change_password('a new one', jid=stage.domain, timeout=PATIENCE)
    await romeo.leave()
    assert await stage.device('romeo', 'garden', password='a new one').arrive() == 'online'
    assert await stage.device('romeo', 'street').arrive() == 'refused'


SCENES = [starttls, direct_tls, wrong_password, roster_handshake, presence, chat, carbons, offline, blocking, vcard,
          private_storage, bookmarks, questions, survival, history, resting, password_change]

# Played only if they are named: their caller has to do something meanwhile.
ON_REQUEST = [planned_stop]


async def play(args, scenes, on_request):
    stage = Stage(args)
    chosen = [scene for scene in [*scenes, *on_request] if scene.__name__ in args.scenes] if args.scenes else scenes
    print(f'1..{len(chosen)}', flush=True)
    failed = 0
    for number, scene in enumerate(chosen, 1):
        try:
            await asyncio.wait_for(scene(stage), 60)
            print(f'ok {number} - {scene.__doc__}', flush=True)
        except Exception:  # any exception is the outcome of this scene
            failed += 1
            print(f'not ok {number} - {scene.__doc__}', flush=True)
            print('\n'.join(f'# {line}' for line in traceback.format_exc().splitlines()), flush=True)
        try:
            await stage.clear()
        except Exception:
            print(f'# while leaving: {traceback.format_exc()}'.replace('\n', '\n# '), flush=True)
            stage.devices.clear()
    return failed


def main(description, scenes, on_request=()):
    """Plays scenes as the command line says, and exits: those of `on_request` only if they are named."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--host', default='127.0.0.1')
    parser.add_argument('--port', type=int, required=True)
    parser.add_argument('--direct-port', type=int, required=True)
    parser.add_argument('--domain', default='localhost')
    parser.add_argument('--password', required=True, help='of the accounts, which exist')
    parser.add_argument('--ca', required=True, help='the certificate to trust, in PEM')
    parser.add_argument('--debug', action='store_true')
    parser.add_argument('scenes', nargs='*')
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG if arguments.debug else logging.CRITICAL, stream=sys.stderr)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    sys.exit(1 if loop.run_until_complete(play(arguments, scenes, on_request)) else 0)


if __name__ == '__main__':
    main(__doc__, SCENES, ON_REQUEST)
