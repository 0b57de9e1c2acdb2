/**
 * Accounts that real Prosody and real ejabberd have exported: their users log in as before, with the default settings
 * of their clients.
 */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Desktop } from './desktop.js'
import { settle } from './gajim.js'
import { freePorts, missing, Program, run } from './process.js'
import { AGAINST_PROSODY, startServer, type ServerUnderTest } from './server.js'

const PYTHON = '/usr/bin/python3' // Debian's, which has Debian's python3-slixmpp
const servers = missing({ prosodyctl: 'prosody', erl: 'ejabberd', ejabberdctl: 'ejabberd' })
const slixmpp = missing({ [PYTHON]: 'python3', '/usr/lib/python3/dist-packages/slixmpp/__init__.py': 'python3-slixmpp' })
const gajim = missing({ gajim: 'gajim', Xvfb: 'xvfb', 'dbus-daemon': 'dbus-daemon' })
const PASSWORD = 'a-secret-of-Verona'
const DOMAIN = 'localhost'

t.setTimeout(1_200_000)

/** Lets Prosody make an account in its storage of XEP-0227, and returns the path of the file. */
async function exportedByProsody (folder: string, local: string): Promise<string> {
  const data = join(folder, 'prosody')
  mkdirSync(data)
  const conf = join(folder, 'prosody.cfg.lua')
  writeFileSync(conf, `
run_as_root = true
data_path = "${data}"
storage = "xep0227"
authentication = "internal_hashed"
modules_enabled = {}
VirtualHost "${DOMAIN}"
`)
  await run('prosodyctl', ['--config', conf, '--root', 'register', local, DOMAIN, PASSWORD])
  return join(data, `${local}@${DOMAIN}.xml`)
}

/** Lets ejabberd make an account and export all it has, and returns the path of the file that includes the others. */
async function exportedByEjabberd (t: Test, folder: string, local: string): Promise<string> {
  const [port = 0] = await freePorts(1)
  const exported = join(folder, 'ejabberd')
  mkdirSync(exported)
  const conf = join(folder, 'ejabberd.yml')
  writeFileSync(conf, `
hosts: ["${DOMAIN}"]
loglevel: info
acme: { auto: false }
auth_method: [internal]
auth_password_format: scram
default_db: mnesia
listen:
  - { port: ${port}, ip: "127.0.0.1", module: ejabberd_http, request_handlers: { /api: mod_http_api } }
api_permissions:
  test: { from: [mod_http_api], who: { ip: "127.0.0.0/8" }, what: [register, export_piefxis] }
modules:
  mod_roster: {}
`)
  const files = await run('dpkg-query', ['--listfiles', 'ejabberd'])
  const server = new Program('erl', ['-noinput', '+K', 'true', '-mnesia', 'dir', `"${join(folder, 'mnesia')}"`, '-s', 'ejabberd'], {
    cwd: folder,
    env: {
      EJABBERD_CONFIG_PATH: conf, EJABBERD_LOG_PATH: join(folder, 'ejabberd.log'), ERL_CRASH_DUMP_BYTES: '0',
      ERL_LIBS: /^(.*)\/ejabberd-[^/]*\/ebin$/m.exec(files)?.[1] ?? '',
    },
  })
  t.teardown(() => server.stop())
  await server.says(/ejabberd .* is started/)
  const asks = async (command: string, args: Readonly<Record<string, string>>): Promise<void> => {
    const response = await fetch(`http://127.0.0.1:${port}/api/${command}`, { method: 'POST', body: JSON.stringify(args) })
    if (!response.ok) throw new Error(`ejabberd: ${command}: ${await response.text()}`)
  }
  await asks('register', { user: local, host: DOMAIN, password: PASSWORD })
  await asks('export_piefxis', { dir: exported })
  await server.stop()
  const main = readdirSync(exported).find(name => !name.includes(`_${DOMAIN}`))
  return join(exported, main ?? '')
}

/** A client with no settings but its account and its trusted certificate. Prints the mechanism that it logged in by. */
const CLIENT = `
import asyncio, sys
from slixmpp import ClientXMPP
jid, password, host, port, ca = sys.argv[1:]
async def main():
    client = ClientXMPP(jid, password)
    client.ca_certs = ca
    outcome = asyncio.get_running_loop().create_future()
    def settle(text):
        if not outcome.done():
            outcome.set_result(text)
    client.add_event_handler('session_start', lambda _: settle('online by ' + client['feature_mechanisms'].mech.name))
    client.add_event_handler('failed_all_auth', lambda _: settle('refused'))
    client.connect((host, int(port)))
    print(await asyncio.wait_for(outcome, 30), flush=True)
    await client.disconnect()
asyncio.run(main())
`

async function logsInBySlixmpp (server: ServerUnderTest, local: string): Promise<string> {
  const program = new Program(PYTHON, ['-c', CLIENT, `${local}@${DOMAIN}`, PASSWORD, server.host, String(server.port), server.certificate], { input: '' })
  await program.ended
  return program.said.trim()
}

t.test('accounts of Prosody and ejabberd can be imported, and their users can log in', { skip: servers || AGAINST_PROSODY && 'it is about Sestina' }, async t => {
  const server = await startServer(t)
  await server.addUser('mercutio', PASSWORD)
  const [ofProsody, ofEjabberd] = [await exportedByProsody(server.folder, 'romeo'), await exportedByEjabberd(t, server.folder, 'juliet')]
  t.match(await server.asked('import', ofProsody, ofEjabberd), { accounts: 2, problems: 0 })
  t.match(await server.asked('user', 'show', `juliet@${DOMAIN}`), { keys: ['SCRAM-SHA-1'] })

  for (const local of ['romeo', 'juliet', 'mercutio']) {
    await t.test(`${local} logs in by slixmpp with its default settings`, { skip: slixmpp }, async t => {
      t.match(await logsInBySlixmpp(server, local), /^online by SCRAM-SHA-1(-PLUS)?$/m)
    })
  }

  for (const [local, contact] of [['romeo', 'juliet'], ['juliet', 'romeo']] as const) {
    await t.test(`${local} logs in by Gajim with its default settings`, { skip: gajim }, async t => {
      const desktop = await Desktop.open(t, home => { settle(server, home, { local, contact, password: PASSWORD }) })
      const program = desktop.start(t, 'gajim', ['--verbose'])
      await program.says(/Raise event: signed-in/)
      t.match(program.said, /Chosen auth mechanism: SCRAM-SHA-1/)
      await program.stop()
    })
  }

  await t.test('once both have a new password, all hashes are offered', { skip: slixmpp }, async t => {
    for (const local of ['romeo', 'juliet']) await server.sets(local, PASSWORD)
    t.match(await logsInBySlixmpp(server, 'juliet'), /^online by SCRAM-SHA-(256|512)/m)
  })
})
