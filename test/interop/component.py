"""A component written with slixmpp, and a client that talks to it; prints the results as TAP."""
import argparse
import asyncio
import sys
import traceback

from slixmpp import ClientXMPP, ComponentXMPP

PATIENCE = 60


class Echo(ComponentXMPP):
    """Answers each message with its body, from the address that it was sent to."""

    def __init__(self, arguments):
        super().__init__(arguments.component, arguments.secret, arguments.host, arguments.component_port)
        self.register_plugin('xep_0030')
        self['xep_0030'].add_identity(category='gateway', itype='irc', name='Echo')
        self.add_event_handler('message', self.echo)
        self.started = asyncio.get_running_loop().create_future()
        self.add_event_handler('session_start', lambda _: self.started.set_result(True))

    def echo(self, message):
        if message['type'] != 'error':
            message.reply(message['body']).send()


class Client(ClientXMPP):
    def __init__(self, arguments):
        super().__init__(f'romeo@{arguments.domain}/orchard', arguments.password)
        self.ca_certs = arguments.ca
        self.register_plugin('xep_0030')
        self.heard = asyncio.Queue()
        self.started = asyncio.get_running_loop().create_future()
        self.add_event_handler('session_start', lambda _: self.started.set_result(True))
        for event in ('message', 'message_error'):
            self.add_event_handler(event, self.heard.put_nowait)

    async def listed(self, domain):
        items = await self['xep_0030'].get_items(jid=domain, timeout=PATIENCE)
        return [str(jid) for jid, _, _ in items['disco_items']['items']]


async def main(arguments):
    print('1..1', flush=True)
    try:
        client = Client(arguments)
        client.connect((arguments.host, arguments.port))
        await asyncio.wait_for(client.started, PATIENCE)
        assert arguments.component not in await client.listed(arguments.domain)

        echo = Echo(arguments)
        echo.connect()
        await asyncio.wait_for(echo.started, PATIENCE)
        assert arguments.component in await client.listed(arguments.domain)
        info = await client['xep_0030'].get_info(jid=arguments.component, timeout=PATIENCE)
        assert any(identity[:2] == ('gateway', 'irc') for identity in info['disco_info']['identities']), info

        client.send_message(mto=f'nurse@{arguments.component}', mbody='But soft! <&> 🌹', mtype='chat')
        heard = await asyncio.wait_for(client.heard.get(), PATIENCE)
        assert (str(heard['from']), heard['body']) == (f'nurse@{arguments.component}', 'But soft! <&> 🌹'), heard

        await echo.disconnect()
        while arguments.component in await client.listed(arguments.domain):
            pass
        client.send_message(mto=f'nurse@{arguments.component}', mbody='Nurse?', mtype='chat')
        heard = await asyncio.wait_for(client.heard.get(), PATIENCE)
        assert (heard['type'], heard['error']['condition'], heard['error']['type']) == ('error', 'remote-server-timeout', 'wait'), heard
        client.abort()
        print('ok 1 - a component connects, is listed, answers, and is told to be away when it has gone', flush=True)
    except Exception:
        print(f'not ok 1\n{traceback.format_exc()}', flush=True)


parser = argparse.ArgumentParser()
for name in ('host', 'domain', 'password', 'ca', 'component', 'secret'):
    parser.add_argument(f'--{name}', required=True)
for name in ('port', 'component-port'):
    parser.add_argument(f'--{name}', type=int, required=True)
asyncio.run(main(parser.parse_args(sys.argv[1:])))
