"""Joins a room of another server with slixmpp, sends messages, and pages through the room's archive (XEP-0313)."""
import argparse
import asyncio
import sys

from slixmpp import ClientXMPP

PATIENCE = 30
MESSAGES = 25
PAGE = 10


class Romeo(ClientXMPP):
    def __init__(self, jid, password):
        super().__init__(jid, password)
        self.ready = asyncio.get_running_loop().create_future()
        self.heard = asyncio.Queue()
        for plugin in ('xep_0030', 'xep_0045', 'xep_0059', 'xep_0313'):
            self.register_plugin(plugin)
        self.add_event_handler('session_start', lambda _: self.ready.set_result(True))
        self.add_event_handler('groupchat_message', self.heard.put_nowait)


async def play(args):
    romeo = Romeo(args.jid, args.password)
    romeo.ca_certs = args.ca
    romeo.connect((args.host, 5222))
    await asyncio.wait_for(romeo.ready, PATIENCE)
    romeo.send_presence()
    await asyncio.wait_for(romeo['xep_0045'].join_muc_wait(args.room, 'romeo', maxstanzas=0), PATIENCE)
    await romeo['xep_0045'].set_room_config(args.room, romeo['xep_0004'].make_form(ftype='submit'))
    for number in range(MESSAGES):
        romeo.send_message(args.room, f'number {number}', mtype='groupchat')
    for number in range(MESSAGES):
        heard = await asyncio.wait_for(romeo.heard.get(), PATIENCE)
        assert heard['body'] == f'number {number}', heard

    found = []
    async for result in romeo['xep_0313'].iterate(jid=args.room, rsm={'max': str(PAGE)}, total=1000):
        body = result['mam_result']['forwarded']['stanza']['body']
        if body:
            found.append(body)
    assert found == [f'number {number}' for number in range(MESSAGES)], found
    print(f'{len(found)} messages in pages of {PAGE}', flush=True)
    romeo.abort()


def main():
    parser = argparse.ArgumentParser()
    for name in ('host', 'jid', 'password', 'room', 'ca'):
        parser.add_argument(f'--{name}', required=True)
    args = parser.parse_args()
    asyncio.get_event_loop().run_until_complete(asyncio.wait_for(play(args), 90))
    sys.exit(0)


main()
