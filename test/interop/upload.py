"""Asks for slots with slixmpp, sends and reads files with curl, and cuts a connection; prints the results as TAP."""
import argparse
import asyncio
import hashlib
import os
import socket
import ssl
import sys
import traceback
import types
from urllib.parse import urlsplit

from slixmpp import ClientXMPP

PATIENCE = 60

# The plugin imports aiohttp for a method that is not called here: curl sends the files.
aiohttp = types.ModuleType('aiohttp')
aiohttp.ClientSession = None
sys.modules.setdefault('aiohttp', aiohttp)


async def online(arguments, local):
    client = ClientXMPP(f'{local}@{arguments.domain}/files', arguments.password)
    client.ca_certs = arguments.ca
    for plugin in ('0030', '0363'):
        client.register_plugin(f'xep_{plugin}')
    outcome = asyncio.get_running_loop().create_future()
    client.add_event_handler('session_start', lambda _: outcome.set_result('online'))
    client.add_event_handler('failed_all_auth', lambda _: outcome.set_result('refused'))
    client.connect((arguments.host, arguments.port))
    assert await asyncio.wait_for(outcome, PATIENCE) == 'online'
    return client


async def curl(arguments, *words):
    """Runs curl, which trusts the certificate of the server; returns what it prints."""
    program = await asyncio.create_subprocess_exec(
        'curl', '--silent', '--show-error', '--cacert', arguments.ca, *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    told, wrong = await program.communicate()
    assert program.returncode == 0, f'curl: {wrong.decode()}'
    return told


class Slot:
    """A slot that slixmpp has asked for, after it has found the service by itself."""

    def __init__(self, put, get, headers):
        self.put, self.get, self.headers = put, get, headers

    @classmethod
    async def of(cls, client, name, size, kind):
        disco = client['xep_0030']
        items = await disco.get_items(jid=client.boundjid.domain, timeout=PATIENCE)
        services = [await disco.get_info(jid=jid, timeout=PATIENCE) for jid, _, _ in items['disco_items']['items']]
        found = next(info for info in services if any(one[:2] == ('store', 'file') for one in info['disco_info']['identities']))
        assert 'urn:xmpp:http:upload:0' in found['disco_info']['features'], found
        forms = [form['values'] for form in found['disco_info'].iterables]
        assert any('max-file-size' in values for values in forms), forms
        answer = await client['xep_0363'].request_slot(found['from'], name, size, kind, timeout=PATIENCE)
        slot = answer['http_upload_slot']
        return cls(slot['put']['url'], slot['get']['url'], [(header['name'], header['value']) for header in slot['put']['headers']])


async def sent(arguments, slot, path, kind):
    headers = [word for name, value in slot.headers for word in ('--header', f'{name}: {value}')]
    return (await curl(arguments, '--upload-file', path, *headers, '--header', f'Content-Type: {kind}',
                       '--output', os.devnull, '--write-out', '%{http_code}', slot.put)).decode()


async def send_and_read(arguments, path, content):
    """slixmpp finds the service and gets a slot; curl sends the file, and reads it whole and in parts"""
    client = await online(arguments, 'romeo')
    slot = await Slot.of(client, 'très cool.jpg', len(content), 'image/jpeg')
    assert slot.put.endswith('/tr%C3%A8s%20cool.jpg'), slot.put
    assert await sent(arguments, slot, path, 'image/jpeg') == '201'
    assert hashlib.sha256(await curl(arguments, slot.get)).digest() == hashlib.sha256(content).digest()
    assert await curl(arguments, '--range', '1000-1999', slot.get) == content[1000:2000]
    assert 'content-length: ' + str(len(content)) in (await curl(arguments, '--head', slot.get)).decode().lower()
    assert await sent(arguments, slot, path, 'image/jpeg') == '409', 'a slot is good for one file'
    client.abort()


async def cut(arguments, path, content):
    """a file whose connection is cut in the middle is sent again with the same slot"""
    client = await online(arguments, 'juliet')
    slot = await Slot.of(client, 'letter.bin', len(content), 'application/octet-stream')
    url = urlsplit(slot.put)
    context = ssl.create_default_context(cafile=arguments.ca)
    with socket.create_connection((url.hostname, url.port)) as plain, context.wrap_socket(plain, server_hostname=url.hostname) as link:
        head = f'PUT {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {len(content)}\r\n'
        link.sendall((head + ''.join(f'{name}: {value}\r\n' for name, value in slot.headers) + '\r\n').encode() + content[:100_000])
    assert (await curl(arguments, '--output', os.devnull, '--write-out', '%{http_code}', slot.get)).decode() == '404'
    assert await sent(arguments, slot, path, 'application/octet-stream') == '201'
    assert await curl(arguments, slot.get) == content
    client.abort()


async def main(arguments):
    content = os.urandom(3_000_000)
    path = os.path.join(arguments.folder, 'sent.bin')
    with open(path, 'wb') as file:
        file.write(content)
    scenes = (send_and_read, cut)
    print(f'1..{len(scenes)}', flush=True)
    for number, scene in enumerate(scenes, 1):
        try:
            await scene(arguments, path, content)
            print(f'ok {number} - {scene.__doc__}', flush=True)
        except Exception:
            print(f'not ok {number} - {scene.__doc__}\n{traceback.format_exc()}', flush=True)


parser = argparse.ArgumentParser()
for name in ('host', 'domain', 'password', 'ca', 'folder'):
    parser.add_argument(f'--{name}', required=True)
parser.add_argument('--port', type=int, required=True)
asyncio.run(main(parser.parse_args(sys.argv[1:])))
