"""
Somebody in a room, with slixmpp: does what each line of the input says, and prints what the room tells.

`enter NICK`, `make FIELD=VALUE ...`, `say TEXT`, `subject TEXT`, `kick NICK REASON`, `invite ADDRESS REASON`
"""
import argparse
import asyncio
import sys

from slixmpp import ClientXMPP, JID
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

MUC = 'http://jabber.org/protocol/muc'
PATIENCE = 600  # only a hang lasts longer


class Occupant(ClientXMPP):
    def __init__(self, args):
        super().__init__(args.jid, args.password)
        self.room, self.ca_certs = JID(args.room), args.ca
        for plugin in ('0004', '0030', '0045', '0203'):
            self.register_plugin(f'xep_{plugin}')
        self.muc = self['xep_0045']
        self.add_event_handler('session_start', self.ready)
        self.register_handler(Callback('presence of occupants', MatchXPath('{jabber:client}presence'), self.sees))
        self.register_handler(Callback('what is said', MatchXPath('{jabber:client}message'), self.hears))

    async def ready(self, _):
        await self.get_roster(timeout=PATIENCE)
        self.send_presence()
        print('online', flush=True)

    def sees(self, presence):
        who = presence['from']
        if who.bare != self.room:
            return
        codes = presence['muc']['status_codes']
        new = presence['muc']['item'].xml.get('nick')
        if presence['type'] == 'error':
            print(f'refused: {presence["error"]["condition"]}', flush=True)
        elif 303 in codes:
            print(f'{who.resource} is now {new}', flush=True)
        elif presence['type'] == 'unavailable':
            print(f'{who.resource} is gone {sorted(codes)}', flush=True)
        else:
            print(f'{who.resource} is here {sorted(codes)}', flush=True)

    def hears(self, message):
        who = message['from']
        if who.bare != self.room:
            return
        late = ' before' if message.get_plugin('delay', check=True) else ''
        if message['type'] == 'error':
            print(f'error: {message["error"]["condition"]}', flush=True)
        elif (invite := message.xml.find(f'{{{MUC}#user}}x/{{{MUC}#user}}invite')) is not None:
            reason = invite.findtext(f'{{{MUC}#user}}reason')
            print(f'invited: {reason}' if reason else 'invited', flush=True)
        elif message['subject'] and not message['body']:
            print(f'{who.resource} set the subject{late}: {message["subject"]}', flush=True)
        elif message['body']:
            print(f'{who.resource} said{late}: {message["body"]}', flush=True)

    async def obey(self, line):
        command, _, text = line.partition(' ')
        first, _, rest = text.partition(' ')
        if command == 'enter':
            presence = self.make_presence(pto=f'{self.room}/{text}')
            presence['muc_join']['history']['maxstanzas'] = '20'
            presence.send()
        elif command == 'make':
            form = self['xep_0004'].make_form(ftype='submit')
            form.add_field(var='FORM_TYPE', ftype='hidden', value=f'{MUC}#roomconfig')
            for field in text.split():
                name, _, value = field.partition('=')
                form.add_field(var=f'muc#roomconfig_{name}', value=value)
            await self.muc.set_room_config(self.room, form, timeout=PATIENCE)
        elif command == 'say':
            self.send_message(mto=self.room, mbody=text, mtype='groupchat')
        elif command == 'subject':
            self.muc.set_subject(self.room, text)
        elif command == 'kick':
            await self.muc.set_role(self.room, first, 'none', reason=rest, timeout=PATIENCE)
        elif command == 'invite':
            self.muc.invite(self.room, JID(first), reason=rest)
        else:
            raise ValueError(line)
        print(f'done: {line}', flush=True)


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ('host', 'port', 'jid', 'password', 'room', 'ca'):
        parser.add_argument(f'--{name}', required=True)
    args = parser.parse_args()
    occupant = Occupant(args)
    occupant.connect((args.host, int(args.port)))
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        await occupant.obey(line.rstrip('\n'))


asyncio.run(main())
